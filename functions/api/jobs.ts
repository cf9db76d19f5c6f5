import { createRoute, z } from "@hono/zod-openapi";
import { findJob, type Job, type JobPosition, listJobs } from "../../catalog/jobs.ts";
import { isUuid } from "../../core/dataset/name.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { LIST_MAX_ENTRIES } from "../../core/limits.ts";
import { type Api, needsApiKey } from "./app.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { problems } from "./problem.ts";
import { Cursor, jsonAnswer, pageLimit, Time, Uuid } from "./schemas.ts";

const JobSchema = z
  .object({
    id: Uuid,
    kind: z.enum(["create_dataset", "verify_dataset", "unpack_dataset", "import_public_dataset"]),
    state: z.enum(["queued", "running", "succeeded", "failed"]),
    done: z.int().openapi({ description: "Units of work done; never goes back", example: 5000 }),
    total: z.int().nullable().openapi({ description: "null until it is known", example: 100000 }),
    result: z
      .record(z.string(), z.unknown())
      .nullable()
      .openapi({ description: "Of a creation: dataset_id, name, version, …; of a verification: its report" }),
    error: z
      .looseObject({ code: z.string(), message: z.string() })
      .nullable()
      .openapi({ description: "Why it failed, as a problem would say it" }),
    created_at: Time,
    updated_at: Time,
  })
  .openapi("Job");

const jobRoute = createRoute({
  method: "get",
  path: "/api/jobs/{job}",
  tags: ["jobs"],
  summary: "Watch a job",
  ...needsApiKey,
  request: {
    params: z.object({
      job: z.string().openapi({ param: { name: "job", in: "path", description: "`job_id`" } }),
    }),
  },
  responses: { 200: jsonAnswer(JobSchema, "As it is now"), ...problems(401, 404) },
});

const listRoute = createRoute({
  method: "get",
  path: "/api/jobs",
  tags: ["jobs"],
  summary: "List your jobs, newest first",
  ...needsApiKey,
  request: { query: z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) }) },
  responses: {
    200: jsonAnswer(
      z.object({ jobs: z.array(JobSchema), next_cursor: Cursor.nullable() }).openapi("JobList"),
      "One page",
    ),
    ...problems(400, 401),
  },
});

export function registerJobs(api: Api): void {
  api.openapi(jobRoute, async (c) => {
    const { job: id } = c.req.valid("param");
    const job = isUuid(id) ? await findJob(c.var.deps.sql, c.var.user.id, id) : undefined;
    if (job === undefined) throw new DataStreamError("not_found", "job: you have no such job.");
    return c.json(shown(job), 200);
  });

  api.openapi(listRoute, async (c) => {
    const { cursor, limit } = c.req.valid("query");
    const after = cursor === undefined ? undefined : positionOf(cursor);
    const rows = await listJobs(c.var.deps.sql, c.var.user.id, { after, limit: limit + 1 });
    const jobs = rows.slice(0, limit);
    const last = rows.length > limit ? jobs.at(-1) : undefined;
    const next_cursor = last === undefined ? null : encodeCursor(`${last.createdAt.getTime()}/${last.id}`);
    return c.json({ jobs: jobs.map(shown), next_cursor }, 200);
  });
}

function shown(job: Job): z.infer<typeof JobSchema> {
  return {
    id: job.id,
    kind: job.kind,
    state: job.state,
    done: job.done,
    total: job.total,
    result: job.result,
    error: job.error && { ...job.error.details, code: job.error.code, message: job.error.message },
    created_at: job.createdAt.toISOString(),
    updated_at: job.updatedAt.toISOString(),
  };
}

function positionOf(cursor: string): JobPosition {
  const [time, id = ""] = decodeCursor(cursor).split("/");
  const createdAtMs = Number(time);
  const isTime = !Number.isNaN(new Date(createdAtMs).getTime());
  if (isTime && Number.isInteger(createdAtMs) && isUuid(id)) return { createdAtMs, id };
  throw invalidArgument("cursor", "use `next_cursor` of an earlier answer, or leave it out.");
}

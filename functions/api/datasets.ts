import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { countChunks, listDatasets, listFiles, listVersions } from "../../catalog/datasets.ts";
import type { Action } from "../../core/access/scopes.ts";
import { toHex } from "../../core/bytes.ts";
import { isPlainText } from "../../core/text.ts";
import { parseTrustLevel } from "../../core/dataset/trust.ts";
import { invalidArgument } from "../../core/errors.ts";
import {
  DATASET_DESCRIPTION_MAX_CHARS,
  DATASET_MAX_GLOBS,
  DATASET_NAME_MAX_CHARS,
  LIST_MAX_ENTRIES,
  VERIFY_INLINE_MAX_FILES,
} from "../../core/limits.ts";
import type { VerificationReport } from "../../durable-objects/jobs/verify-dataset.ts";
import { type Access, authorize } from "../access.ts";
import { deleteDataset, startCreation, verifyDataset } from "../dataset-work.ts";
import { jobStarter } from "../jobs.ts";
import { errorFields } from "../log.ts";
import { type Api, type ApiEnv, needsApiKey } from "./app.ts";
import { requestCaller } from "./caller.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { DatasetParams, DatasetSchema, shownDataset, TrustLabel, TrustLevel } from "./dataset-schemas.ts";
import { problems } from "./problem.ts";
import { Cursor, Digest, jsonAnswer, jsonBody, pageLimit, Time, Uuid } from "./schemas.ts";

const DatasetList = z
  .object({ datasets: z.array(DatasetSchema), next_cursor: Cursor.nullable() })
  .openapi("DatasetList");
export const StartedJob: z.ZodObject<{ job_id: z.ZodUUID }> = z
  .object({ job_id: Uuid })
  .openapi("StartedJob");

const File = z
  .object({
    index: z.int().openapi({ example: 0 }),
    path: z.string().openapi({ example: "3/00042.png" }),
    size: z.int().openapi({ example: 3072 }),
    content_hash: Digest.openapi({ description: "BLAKE3" }),
  })
  .openapi("DatasetFile");

const Report = z
  .object({
    dataset_id: Uuid,
    depth: z.enum(["manifest", "stored", "full"]),
    manifest_valid: z.boolean().openapi({ description: "Read again, it hashes to the content hash" }),
    all_files_valid: z.boolean().openapi({ description: "False also where no file was looked at" }),
    files_checked: z.int(),
    files_failed: z.int(),
    files: z
      .array(
        z.object({
          path: z.string(),
          expected_hash: Digest,
          actual_hash: z.union([Digest, z.literal("")]),
          valid: z.literal(false),
        }),
      )
      .openapi({ description: "The first 1,000 failures; an empty actual hash where bytes are lost" }),
    public_match: z
      .object({ name: z.string(), version: z.string(), verified_by: z.array(z.string()) })
      .nullable(),
    trust_level: TrustLevel,
    trust: TrustLabel,
    previous_trust_level: TrustLevel.openapi({
      description: "Before a match with the public registry counted",
    }),
    previous_trust: TrustLabel,
    verified_at: Time,
  })
  .openapi("VerificationReport");

const createDatasetRoute = createRoute({
  method: "post",
  path: "/api/datasets",
  tags: ["datasets"],
  summary: "Create a dataset, or the next version of one",
  description:
    "From your stored objects that match `bucket/glob` texts, as a job whose result names the version. A file's path is " +
    "its key without the folder that the literal beginnings of all globs share. Every glob has to match something, and " +
    'no two objects may get one path. With `"labels": "path"` the class list is written into the schema.',
  ...needsApiKey,
  request: {
    body: jsonBody(
      z
        .strictObject({
          name: z.string().min(1).max(DATASET_NAME_MAX_CHARS).openapi({ example: "my-dataset" }),
          files: z
            .array(z.string())
            .min(1)
            .max(DATASET_MAX_GLOBS)
            .openapi({ example: ["datasets/train_images/**/*.jpg"] }),
          schema: z.union([z.record(z.string(), z.unknown()), z.string()]).openapi({
            example: { type: "image", format: "jpg", labels: "path" },
          }),
          description: z.string().max(DATASET_DESCRIPTION_MAX_CHARS).default(""),
        })
        .openapi("CreateDataset"),
    ),
  },
  responses: { 202: jsonAnswer(StartedJob, "The job was started"), ...problems(400, 401, 413, 415) },
});

const listRoute = createRoute({
  method: "get",
  path: "/api/datasets",
  tags: ["datasets"],
  summary: "List datasets that you own or that are shared with you, or those that are public",
  description:
    "The newest version of each, by name. With `visibility=public` those that every user may stream, whoever owns them.",
  ...needsApiKey,
  request: {
    query: z.strictObject({
      search: z
        .string()
        .max(DATASET_NAME_MAX_CHARS)
        .refine(isPlainText, "contains a NUL.")
        .optional()
        .openapi({ description: "Part of the name" }),
      visibility: z.enum(["public"]).optional().openapi({
        description: "public: copies of published datasets. Left out: yours, and those shared with you",
      }),
      max_trust_level: z.coerce
        .number()
        .int()
        .min(0)
        .max(4)
        .default(4)
        .openapi({ type: "integer", example: 4 }),
      cursor: Cursor.optional(),
      limit: pageLimit(LIST_MAX_ENTRIES),
    }),
  },
  responses: { 200: jsonAnswer(DatasetList, "One page"), ...problems(400, 401) },
});

/** Of routes that an API key opens, or an access token of that version. */
const EITHER = { security: [{ api_key: [] }, { access_token: [] }] };

const infoRoute = createRoute({
  method: "get",
  path: "/api/datasets/{ref}",
  tags: ["datasets"],
  summary: "Describe a dataset version",
  ...EITHER,
  request: { params: DatasetParams },
  responses: { 200: jsonAnswer(DatasetSchema, "The version"), ...problems(400, 401, 403, 404) },
});

const filesRoute = createRoute({
  method: "get",
  path: "/api/datasets/{ref}/files",
  tags: ["datasets"],
  summary: "List the files of a dataset version",
  description: "In the order of the manifest. Convenient, not proven: the manifest and its pages are.",
  ...EITHER,
  request: {
    params: DatasetParams,
    query: z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) }),
  },
  responses: {
    200: jsonAnswer(
      z.object({ files: z.array(File), next_cursor: Cursor.nullable() }).openapi("DatasetFileList"),
      "One page",
    ),
    ...problems(400, 401, 403, 404),
  },
});

const versionsRoute = createRoute({
  method: "get",
  path: "/api/datasets/{ref}/versions",
  tags: ["datasets"],
  summary: "List the versions of a dataset, newest first",
  ...needsApiKey,
  request: {
    params: DatasetParams,
    query: z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) }),
  },
  responses: {
    200: jsonAnswer(
      z
        .object({ versions: z.array(DatasetSchema), next_cursor: Cursor.nullable() })
        .openapi("DatasetVersions"),
      "Those that you can reach",
    ),
    ...problems(400, 401, 403, 404),
  },
});

const deleteRoute = createRoute({
  method: "delete",
  path: "/api/datasets/{ref}",
  tags: ["datasets"],
  summary: "Delete a dataset version",
  description: "Its tokens end with it. Objects stay; bytes that only this version used are collected.",
  ...needsApiKey,
  request: { params: DatasetParams },
  responses: { 204: { description: "It is gone" }, ...problems(400, 401, 403, 404) },
});

const verifyRoute = createRoute({
  method: "post",
  path: "/api/datasets/{ref}/verify",
  tags: ["datasets"],
  summary: "Verify a dataset version",
  description:
    "`manifest`: read the manifest again and hash it. `stored`: also compare each of its records with the stored " +
    "object. `full`: also read every byte; lost shards are healed and queued for repair. With `check_public_registry` " +
    "a version without failures is compared with the entries of the public registry; a match is evidence from then " +
    `on. A full depth, more than ${VERIFY_INLINE_MAX_FILES} files, or files whose SHA-256 is still to be computed ` +
    "make it a job, whose result is the report.",
  ...needsApiKey,
  request: {
    params: DatasetParams,
    body: jsonBody(
      z
        .strictObject({
          depth: z.enum(["manifest", "stored", "full"]).default("stored"),
          check_public_registry: z.boolean().default(false),
        })
        .openapi("VerifyDataset"),
    ),
  },
  responses: {
    200: jsonAnswer(Report, "Verified"),
    202: jsonAnswer(StartedJob, "A job was started"),
    ...problems(400, 401, 403, 404, 413, 415),
  },
});

/** For the caller's API key, access token or session. */
export async function accessOf(c: Context<ApiEnv>, reference: string, action: Action): Promise<Access> {
  const { deps } = c.var;
  return authorize(deps, await requestCaller(c), reference, action);
}

/** Counting the chunks of more files than this takes too long for an answer. */
const COUNTED_MAX_FILES = 100_000;

export function registerDatasets(api: Api): void {
  api.openapi(createDatasetRoute, async (c) => {
    const { deps, user } = c.var;
    const job_id = await startCreation(deps.sql, jobStarter(c.env), user.id, c.req.valid("json"));
    return c.json({ job_id }, 202);
  });

  api.openapi(listRoute, async (c) => {
    const { deps, user } = c.var;
    const { search, visibility, max_trust_level, cursor, limit } = c.req.valid("query");
    const rows = await listDatasets(deps.sql, user.id, {
      search,
      isPublic: visibility === "public",
      maxTrustLevel: parseTrustLevel(max_trust_level),
      after: cursor === undefined ? undefined : placeOf(cursor),
      limit: limit + 1,
    });
    const datasets = rows.slice(0, limit);
    const last = rows.length > limit ? datasets.at(-1) : undefined;
    return c.json(
      {
        datasets: datasets.map((dataset) => shownDataset(dataset, user.id)),
        next_cursor: last === undefined ? null : encodeCursor(`${last.ownerName}/${last.name}`),
      },
      200,
    );
  });

  api.openapi(infoRoute, async (c) => {
    const { dataset, userId } = await accessOf(c, c.req.valid("param").ref, "describe");
    const counts = dataset.fileCount > COUNTED_MAX_FILES ? {} : await countChunks(c.var.deps.sql, dataset.id);
    return c.json({ ...shownDataset(dataset, userId), ...counts }, 200);
  });

  api.openapi(filesRoute, async (c) => {
    const { dataset } = await accessOf(c, c.req.valid("param").ref, "describe");
    const { cursor, limit } = c.req.valid("query");
    const from = cursor === undefined ? 0 : indexOf(cursor);
    const files = await listFiles(c.var.deps.sql, dataset.id, { from, limit });
    const next = from + files.length;
    return c.json(
      {
        files: files.map(({ contentHash, ...file }) => ({ ...file, content_hash: toHex(contentHash) })),
        next_cursor: files.length > 0 && next < dataset.fileCount ? encodeCursor(String(next)) : null,
      },
      200,
    );
  });

  api.openapi(versionsRoute, async (c) => {
    const { deps, user } = c.var;
    const { dataset } = await accessOf(c, c.req.valid("param").ref, "describe");
    const { cursor, limit } = c.req.valid("query");
    const below = cursor === undefined ? undefined : indexOf(cursor);
    const rows = await listVersions(deps.sql, user.id, dataset, { below, limit: limit + 1 });
    const versions = rows.slice(0, limit);
    const last = rows.length > limit ? versions.at(-1) : undefined;
    const next_cursor = last === undefined ? null : encodeCursor(String(last.version));
    return c.json({ versions: versions.map((version) => shownDataset(version, user.id)), next_cursor }, 200);
  });

  api.openapi(deleteRoute, async (c) => {
    const { deps, log } = c.var;
    const { dataset } = await accessOf(c, c.req.valid("param").ref, "manage");
    const clean = await deleteDataset(deps.sql, dataset.id);
    c.executionCtx.waitUntil(clean().catch((error: unknown) => log.error("sweep", errorFields(error))));
    return c.body(null, 204);
  });

  api.openapi(verifyRoute, async (c) => {
    const { deps, invocation, user } = c.var;
    const { dataset } = await accessOf(c, c.req.valid("param").ref, "describe");
    const context = { deps, invocation, startJob: jobStarter(c.env) };
    const outcome = await verifyDataset(context, user.id, dataset, c.req.valid("json"));
    if ("jobId" in outcome) return c.json({ job_id: outcome.jobId }, 202);
    return c.json(shownReport(outcome.report), 200);
  });
}

function shownReport({ files, public_match, ...report }: VerificationReport): z.infer<typeof Report> {
  return {
    ...report,
    files: [...files],
    public_match: public_match && { ...public_match, verified_by: [...public_match.verified_by] },
    trust: TrustLabel.parse(report.trust),
    previous_trust: TrustLabel.parse(report.previous_trust),
  };
}

function placeOf(cursor: string): { readonly name: string; readonly owner: string } {
  const [owner, name] = decodeCursor(cursor).split("/");
  if (owner === undefined || name === undefined) throw unknownCursor();
  return { name, owner };
}

function indexOf(cursor: string): number {
  const index = Number(decodeCursor(cursor));
  if (!Number.isSafeInteger(index) || index < 0) throw unknownCursor();
  return index;
}

function unknownCursor(): Error {
  return invalidArgument("cursor", "use `next_cursor` of an earlier answer, or leave it out.");
}

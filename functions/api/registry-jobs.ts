/** Long work around the public registry: taking published archives apart, and importing a copy for everybody. */
import { createRoute, z } from "@hono/zod-openapi";
import {
  DATASET_DESCRIPTION_MAX_CHARS,
  DATASET_MAX_GLOBS,
  DATASET_NAME_MAX_CHARS,
} from "../../core/limits.ts";
import type { ImportPublicDatasetInput } from "../../durable-objects/jobs/import-public-dataset.ts";
import type { UnpackDatasetInput } from "../../durable-objects/jobs/unpack-dataset.ts";
import { creationInput, descriptionInput } from "../dataset-work.ts";
import { jobStarter } from "../jobs.ts";
import { publicDatasetOf } from "../registry.ts";
import { type Api, needsAdmin, needsApiKey } from "./app.ts";
import { DatasetParams } from "./dataset-schemas.ts";
import { accessOf, StartedJob } from "./datasets.ts";
import { problems } from "./problem.ts";
import { PublicDatasetParams } from "./public-datasets.ts";
import { jsonAnswer, jsonBody } from "./schemas.ts";

const description = {
  name: z.string().min(1).max(DATASET_NAME_MAX_CHARS).openapi({ example: "mnist-images" }),
  schema: z.union([z.record(z.string(), z.unknown()), z.string()]).openapi({
    example: { type: "image", format: "raw", shape: [28, 28, 1], dtype: "uint8", labels: "path" },
  }),
  description: z.string().max(DATASET_DESCRIPTION_MAX_CHARS).default(""),
};

const unpackRoute = createRoute({
  method: "post",
  path: "/api/datasets/{ref}/unpack",
  tags: ["public datasets"],
  summary: "Unpack a dataset of published archives",
  description:
    "As a job. The version has to equal an entry of the public registry that has a recipe; what the recipe makes of " +
    "its files becomes a dataset of yours, and its manifest hash the entry's, so that whoever unpacked the same " +
    "archives elsewhere finds a match too.",
  ...needsApiKey,
  request: { params: DatasetParams, body: jsonBody(z.strictObject(description).openapi("UnpackDataset")) },
  responses: {
    202: jsonAnswer(StartedJob, "The job was started"),
    ...problems(400, 401, 403, 404, 413, 415),
  },
});

const importRoute = createRoute({
  method: "post",
  path: "/api/public-datasets/{ref}/import",
  tags: ["public datasets"],
  summary: "Import a copy for everybody",
  description:
    "For administrators, as a job: a dataset of your stored objects, which have to be the entry's published files. " +
    "Every user may stream it from then on.",
  ...needsAdmin,
  request: {
    params: PublicDatasetParams,
    body: jsonBody(
      z
        .strictObject({
          ...description,
          files: z
            .array(z.string())
            .min(1)
            .max(DATASET_MAX_GLOBS)
            .openapi({ example: ["published/mnist/*"] }),
        })
        .openapi("ImportPublicDataset"),
    ),
  },
  responses: {
    202: jsonAnswer(StartedJob, "The job was started"),
    ...problems(400, 401, 403, 404, 413, 415),
  },
});

export function registerRegistryJobs(api: Api): void {
  api.openapi(unpackRoute, async (c) => {
    const { dataset } = await accessOf(c, c.req.valid("param").ref, "read");
    const input: UnpackDatasetInput = { ...descriptionInput(c.req.valid("json")), source_id: dataset.id };
    const id = crypto.randomUUID();
    await jobStarter(c.env)({ id, ownerId: c.var.user.id, kind: "unpack_dataset", input });
    return c.json({ job_id: id }, 202);
  });

  api.openapi(importRoute, async (c) => {
    const { deps, user } = c.var;
    const entry = await publicDatasetOf(deps.sql, c.req.valid("param").ref);
    const input: ImportPublicDatasetInput = {
      ...(await creationInput(deps.sql, user.id, c.req.valid("json"))),
      public_dataset_id: entry.id,
    };
    const id = crypto.randomUUID();
    await jobStarter(c.env)({ id, ownerId: user.id, kind: "import_public_dataset", input });
    return c.json({ job_id: id }, 202);
  });
}

import { createRoute, z } from "@hono/zod-openapi";
import {
  deletePublicDataset,
  insertPublicDataset,
  listPublicDatasets,
  listPublicFiles,
  type PublicDataset,
  type PublicFile,
  setCachedCopy,
} from "../../catalog/registry.ts";
import { toHex } from "../../core/bytes.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { LIST_MAX_ENTRIES, PATH_MAX_BYTES, REGISTRY_MAX_FILES } from "../../core/limits.ts";
import { authorize } from "../access.ts";
import { newEntry, publicDatasetOf } from "../registry.ts";
import { type Api, needsAdmin, needsApiKey } from "./app.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { problems } from "./problem.ts";
import { Cursor, Digest, jsonAnswer, jsonBody, pageLimit, Uuid } from "./schemas.ts";

const EntryName = z
  .string()
  .regex(
    /^[A-Za-z0-9](?:[A-Za-z0-9 ._+-]{0,126}[A-Za-z0-9])?$/,
    "must be 1 to 128 letters, digits, spaces, '.', '_', '+', '-', beginning and ending with a letter or digit.",
  )
  .openapi({ example: "CIFAR-10" });
const EntryVersion = z
  .string()
  .regex(
    /^[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,62}[A-Za-z0-9])?$/,
    "must be 1 to 64 letters, digits, '.', '_', '+', '-', beginning and ending with a letter or digit.",
  )
  .openapi({ example: "python" });
const Md5 = z
  .string()
  .regex(/^[0-9a-f]{32}$/, "must be 32 lowercase hexadecimal digits.")
  .openapi({ example: "c58f30108f718f92721af3b95e74349a" });
const Url = z
  .string()
  .max(2048)
  .regex(/^https?:\/\/\S+$/, "must be an http or https address.")
  .openapi({
    example: "https://www.cs.toronto.edu/~kriz/cifar.html",
  });
const RecipeName = z.enum(["tar", "gzip", "idx"]);
const Verifiers = z.array(z.string().min(1).max(128)).max(32);
const Size = z.int().min(0);

const Entry = z
  .object({
    id: Uuid,
    name: EntryName,
    version: EntryVersion,
    official_url: Url,
    license: z.string().nullable(),
    verified_by: Verifiers.openapi({ example: ["torchvision", "keras"] }),
    recipe: RecipeName.nullable().openapi({ description: "How the published files are taken apart" }),
    official_hash: Digest.nullable().openapi({
      description: "BLAKE3 of the published form's manifest, if known",
    }),
    unpacked_hash: Digest.nullable().openapi({
      description: "The same of what the recipe makes, once unpacked here",
    }),
    cached: z
      .object({ id: Uuid, reference: z.string().openapi({ example: "admin/cifar-10@1" }) })
      .nullable()
      .openapi({ description: "A dataset version that every user may stream" }),
  })
  .openapi("PublicDataset");

const PublishedFile = z.object({
  path: z.string().openapi({ example: "cifar-10-python.tar.gz" }),
  sha256: Digest.nullable(),
  md5: Md5.nullable().openapi({ description: "To compare by hand: nothing is verified by it" }),
  size: Size.nullable(),
  url: z.string().nullable(),
  source: z
    .string()
    .openapi({ description: "Who published the hashes", example: "torchvision 0.29.1, Keras" }),
  unpacked: z.boolean().openapi({ description: "Lies within another of the files" }),
});
const EntryWithFiles = Entry.extend({ files: z.array(PublishedFile) }).openapi("PublicDatasetWithFiles");

export const PublicDatasetParams: z.ZodObject<{ ref: z.ZodString }> = z.object({
  ref: z
    .string()
    .min(1)
    .max(256)
    .openapi({
      param: { name: "ref", in: "path", description: "Percent-encoded: an id, `NAME`, or `NAME@VERSION`" },
      example: "CIFAR-10@python",
    }),
});

const listRoute = createRoute({
  method: "get",
  path: "/api/public-datasets",
  tags: ["public datasets"],
  summary: "List the public registry",
  description: "By name and version.",
  ...needsApiKey,
  request: {
    query: z.strictObject({
      search: z.string().max(128).optional().openapi({ description: "Part of the name" }),
      cursor: Cursor.optional(),
      limit: pageLimit(LIST_MAX_ENTRIES),
    }),
  },
  responses: {
    200: jsonAnswer(
      z
        .object({ public_datasets: z.array(Entry), next_cursor: Cursor.nullable() })
        .openapi("PublicDatasetList"),
      "One page",
    ),
    ...problems(400, 401),
  },
});

const showRoute = createRoute({
  method: "get",
  path: "/api/public-datasets/{ref}",
  tags: ["public datasets"],
  summary: "Show an entry with its published files",
  ...needsApiKey,
  request: { params: PublicDatasetParams },
  responses: { 200: jsonAnswer(EntryWithFiles, "The entry"), ...problems(400, 401, 404) },
});

const addRoute = createRoute({
  method: "post",
  path: "/api/public-datasets",
  tags: ["public datasets"],
  summary: "Add an entry",
  description:
    "For administrators. A dataset equals the entry when it has just these files, each with its SHA-256, size and " +
    "path, or when its manifest hashes to `official_hash`. An entry never changes: remove it and add it anew.",
  ...needsAdmin,
  request: {
    body: jsonBody(
      z
        .strictObject({
          name: EntryName,
          version: EntryVersion,
          official_url: Url,
          license: z.string().max(256).nullable().default(null),
          verified_by: Verifiers.min(1).openapi({ example: ["torchvision"] }),
          recipe: RecipeName.nullable().default(null),
          official_hash: Digest.nullable().default(null),
          files: z
            .array(
              z.strictObject({
                path: z.string().min(1).max(PATH_MAX_BYTES).openapi({ example: "cifar-10-python.tar.gz" }),
                sha256: Digest,
                md5: Md5.nullable().default(null),
                size: Size.nullable().default(null),
                url: Url.nullable().default(null),
              }),
            )
            .max(REGISTRY_MAX_FILES)
            .default([]),
        })
        .openapi("AddPublicDataset"),
    ),
  },
  responses: { 201: jsonAnswer(EntryWithFiles, "The entry"), ...problems(400, 401, 403, 409, 413, 415) },
});

const removeRoute = createRoute({
  method: "delete",
  path: "/api/public-datasets/{ref}",
  tags: ["public datasets"],
  summary: "Remove an entry",
  description: "For administrators. What was verified by it is so no longer, from this moment on.",
  ...needsAdmin,
  request: { params: PublicDatasetParams },
  responses: { 204: { description: "It is gone" }, ...problems(400, 401, 403, 404) },
});

const cacheRoute = createRoute({
  method: "put",
  path: "/api/public-datasets/{ref}/cached-copy",
  tags: ["public datasets"],
  summary: "Open a dataset version to every user as the entry's copy, or close it",
  description: "For administrators: a version of their own that was verified against this entry.",
  ...needsAdmin,
  request: {
    params: PublicDatasetParams,
    body: jsonBody(
      z
        .strictObject({
          dataset: z
            .string()
            .max(512)
            .nullable()
            .openapi({ description: "As in `/api/datasets/{ref}`; null closes it", example: "cifar-10@1" }),
        })
        .openapi("SetCachedCopy"),
    ),
  },
  responses: { 200: jsonAnswer(Entry, "The entry"), ...problems(400, 401, 403, 404, 409, 413, 415) },
});

export function registerPublicDatasets(api: Api): void {
  api.openapi(listRoute, async (c) => {
    const { search, cursor, limit } = c.req.valid("query");
    const after = cursor === undefined ? undefined : placeOf(cursor);
    const rows = await listPublicDatasets(c.var.deps.sql, { search, after, limit: limit + 1 });
    const page = rows.slice(0, limit);
    const last = rows.length > limit ? page.at(-1) : undefined;
    return c.json(
      {
        public_datasets: page.map(shownEntry),
        next_cursor: last === undefined ? null : encodeCursor(`${last.name}@${last.version}`),
      },
      200,
    );
  });

  api.openapi(showRoute, async (c) => {
    const { sql } = c.var.deps;
    const entry = await publicDatasetOf(sql, c.req.valid("param").ref);
    return c.json(
      { ...shownEntry(entry), files: (await listPublicFiles(sql, entry.id)).map(shownFile) },
      200,
    );
  });

  api.openapi(addRoute, async (c) => {
    const { deps, user } = c.var;
    const entry = newEntry(c.req.valid("json"), user.name);
    await insertPublicDataset(deps.sql, entry);
    const files = entry.files.map((file) => shownFile({ ...file, unpacked: false }));
    return c.json({ ...shownEntry({ ...entry, unpackedHash: null, cached: null }), files }, 201);
  });

  api.openapi(removeRoute, async (c) => {
    const { sql } = c.var.deps;
    const entry = await publicDatasetOf(sql, c.req.valid("param").ref);
    await deletePublicDataset(sql, entry.id);
    return c.body(null, 204);
  });

  api.openapi(cacheRoute, async (c) => {
    const { deps, user } = c.var;
    const entry = await publicDatasetOf(deps.sql, c.req.valid("param").ref);
    const { dataset: reference } = c.req.valid("json");
    const caller = { kind: "user", userId: user.id } as const;
    const id = reference === null ? null : (await authorize(deps, caller, reference, "manage")).dataset.id;
    if (!(await setCachedCopy(deps.sql, entry.id, id)))
      throw new DataStreamError(
        "failed_precondition",
        `dataset: is not verified against ${entry.name}@${entry.version}. Verify it first, with check_public_registry.`,
        { details: { field: "dataset" } },
      );
    return c.json(shownEntry(await publicDatasetOf(deps.sql, entry.id)), 200);
  });
}

function shownEntry(entry: PublicDataset): z.infer<typeof Entry> {
  return {
    id: entry.id,
    name: entry.name,
    version: entry.version,
    official_url: entry.officialUrl,
    license: entry.license,
    verified_by: [...entry.verifiedBy],
    recipe: entry.recipe,
    official_hash: entry.officialHash && toHex(entry.officialHash),
    unpacked_hash: entry.unpackedHash && toHex(entry.unpackedHash),
    cached: entry.cached,
  };
}

function shownFile({ sha256, md5, ...file }: PublicFile): z.infer<typeof PublishedFile> {
  return { ...file, sha256: sha256 && toHex(sha256), md5: md5 && toHex(md5) };
}

function placeOf(cursor: string): { readonly name: string; readonly version: string } {
  const [name, version] = decodeCursor(cursor).split("@");
  if (name === undefined || version === undefined)
    throw invalidArgument("cursor", "use `next_cursor` of an earlier answer, or leave it out.");
  return { name, version };
}

import { createRoute, type RouteConfig, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { type Bucket, findBucket } from "../../catalog/buckets.ts";
import { locateObject } from "../../catalog/locate.ts";
import { dropObjects, findLiveObject, listObjects, type StoredObject } from "../../catalog/objects.ts";
import { toHex } from "../../core/bytes.ts";
import { checkPath } from "../../core/dataset/path.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { BULK_DELETE_MAX_KEYS, LIST_MAX_ENTRIES, PATH_MAX_BYTES } from "../../core/limits.ts";
import type { Sql } from "../../core/ports.ts";
import { isPlainText } from "../../core/text.ts";
import { readObject } from "../../storage/object-reader.ts";
import { requireUser } from "../auth.ts";
import { type Api, type ApiEnv, needsApiKey } from "./app.ts";
import { answerBytes } from "./byte-answer.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { problems } from "./problem.ts";
import { BucketName, Cursor, Digest, jsonAnswer, jsonBody, pageLimit, Time } from "./schemas.ts";

export const ObjectKey: z.ZodString = z.string().min(1).max(PATH_MAX_BYTES).openapi({
  description:
    "At most 1,024 UTF-8 bytes in Unicode NFC, without control characters, empty, `.` or `..` segments.",
  example: "train/3/00042.png",
});

const ObjectSchema = z
  .object({
    bucket: BucketName,
    key: ObjectKey,
    size: z.int().openapi({ example: 3072 }),
    content_hash: Digest.openapi({ description: "BLAKE3" }),
    sha256: Digest.nullable().openapi({ description: "null where it was not computed" }),
    created_at: Time,
  })
  .openapi("Object");
const ObjectList = z
  .object({ objects: z.array(ObjectSchema), next_cursor: Cursor.nullable() })
  .openapi("ObjectList");

const listRoute = createRoute({
  method: "get",
  path: "/api/objects",
  tags: ["objects"],
  summary: "List objects of a bucket",
  description: "In byte order of their keys. A page may be followed while objects come and go.",
  ...needsApiKey,
  request: {
    query: z.strictObject({
      bucket: BucketName,
      prefix: z.string().max(PATH_MAX_BYTES).default("").openapi({ example: "train/" }),
      cursor: Cursor.optional(),
      limit: pageLimit(LIST_MAX_ENTRIES),
    }),
  },
  responses: { 200: jsonAnswer(ObjectList, "One page"), ...problems(400, 401, 404) },
});

const deleteManyRoute = createRoute({
  method: "post",
  path: "/api/objects/delete",
  tags: ["objects"],
  summary: "Delete many objects",
  description: "Keys that name nothing are passed by. Datasets keep the bytes that they use.",
  ...needsApiKey,
  request: {
    body: jsonBody(
      z
        .strictObject({ bucket: BucketName, keys: z.array(ObjectKey).min(1).max(BULK_DELETE_MAX_KEYS) })
        .openapi("DeleteObjects"),
    ),
  },
  responses: {
    200: jsonAnswer(
      z
        .object({ deleted: z.int().openapi({ description: "Keys that named something" }) })
        .openapi("DeletedObjects"),
      "All of them are gone",
    ),
    ...problems(400, 401, 404, 413, 415),
  },
});

const KEY_REQUEST = {
  params: z.object({
    bucket: BucketName.openapi({ param: { name: "bucket", in: "path" } }),
    key: ObjectKey.openapi({
      param: {
        name: "key",
        in: "path",
        description:
          "The rest of the path, percent-encoded; slashes may stay. Dot segments never arrive: URL parsers resolve " +
          "`..` and `%2e%2e` before a request is sent or seen, so such an address names another key. Where they " +
          "can be seen (`..%2f`), they are refused.",
      },
    }),
  }),
};
const KEY_ROUTE = { path: "/api/objects/{bucket}/{key}", tags: ["objects"], security: needsApiKey.security };
const BYTES = { "application/octet-stream": { schema: z.string().openapi({ format: "binary" }) } };
const BYTES_HEADERS = z.object({
  etag: z.string().openapi({ description: "The BLAKE3 content hash in quotes" }),
  "accept-ranges": z.literal("bytes"),
  "x-cyxcloud-sha256": Digest.optional(),
});

const getRoute: RouteConfig = {
  ...KEY_ROUTE,
  method: "get",
  summary: "Download an object",
  description:
    "Every byte is verified against the content hash before it leaves. `Range` takes one span, `If-None-Match` and " +
    "`If-Range` the ETag. A failure after the first byte cuts the connection short of Content-Length.",
  request: {
    ...KEY_REQUEST,
    headers: z.object({
      range: z.string().optional().openapi({ example: "bytes=0-1023" }),
      "if-none-match": z.string().optional(),
      "if-range": z.string().optional(),
    }),
  },
  responses: {
    200: { description: "The whole object", headers: BYTES_HEADERS, content: BYTES },
    206: { description: "The span that `Range` asked for", headers: BYTES_HEADERS, content: BYTES },
    304: { description: "`If-None-Match` names this content" },
    ...problems(400, 401, 404, 416),
  },
};
const headRoute: RouteConfig = {
  ...KEY_ROUTE,
  method: "head",
  summary: "Size and hash of an object",
  request: KEY_REQUEST,
  responses: {
    200: { description: "As GET answers, without the bytes", headers: BYTES_HEADERS },
    304: { description: "`If-None-Match` names this content" },
    ...problems(400, 401, 404),
  },
};
const deleteRoute: RouteConfig = {
  ...KEY_ROUTE,
  method: "delete",
  summary: "Delete an object",
  description: "Also when the key names nothing. Datasets keep the bytes that they use.",
  request: KEY_REQUEST,
  responses: { 204: { description: "The key names nothing now" }, ...problems(400, 401, 404) },
};

export function registerObjects(api: Api): void {
  api.openapi(listRoute, async (c) => {
    const { bucket: name, prefix, cursor, limit } = c.req.valid("query");
    requireText(prefix, "prefix");
    const bucket = await requireBucket(c.var.deps.sql, c.var.user.id, name);
    const page = await listObjects(c.var.deps.sql, {
      bucketId: bucket.id,
      prefix,
      limit,
      ...(cursor !== undefined && { after: decodeCursor(cursor) }),
    });
    const objects = page.objects.map((object) => shown(name, object));
    return c.json(
      { objects, next_cursor: page.nextAfter === null ? null : encodeCursor(page.nextAfter) },
      200,
    );
  });

  api.openapi(deleteManyRoute, async (c) => {
    const { bucket: name, keys } = c.req.valid("json");
    for (const [index, key] of keys.entries()) checkPath(key, `keys.${index}`);
    const bucket = await requireBucket(c.var.deps.sql, c.var.user.id, name);
    return c.json({ deleted: await dropObjects(c.var.deps.sql, bucket.id, keys) }, 200);
  });

  // A key holds slashes, which OpenAPI cannot say of a path: documented and routed apart.
  for (const route of [getRoute, headRoute, deleteRoute]) api.openAPIRegistry.registerPath(route);
  api.get("/api/objects/:bucket/:key{.+}", requireUser, answerObject);
  api.delete("/api/objects/:bucket/:key{.+}", requireUser, deleteObject);
}

async function deleteObject(c: Context<ApiEnv>): Promise<Response> {
  const { bucket, key } = await addressed(c);
  await dropObjects(c.var.deps.sql, bucket.id, [key]);
  return c.body(null, 204);
}

/** GET and HEAD. */
async function answerObject(c: Context<ApiEnv>): Promise<Response> {
  const { sql, chunks } = c.var.deps;
  const { bucket, key } = await addressed(c);
  const object = await findLiveObject(sql, bucket.id, key);
  const located = object && (await locateObject(sql, object.id, chunks));
  if (object === undefined || located === undefined) {
    throw new DataStreamError("not_found", `key: the bucket "${bucket.name}" has no such object.`, {
      details: { field: "key" },
    });
  }
  return answerBytes(
    c.req.raw,
    {
      size: object.size,
      contentHash: object.contentHash,
      lastModified: object.createdAt,
      headers: object.sha256 ? { "x-cyxcloud-sha256": toHex(object.sha256) } : {},
      open: (range) => readObject(c.var.invocation.reads, located, range),
    },
    c.var.log,
  );
}

/** Bucket and key as the address has them, past the router's lenient decoding. */
async function addressed(c: Context<ApiEnv>): Promise<{ readonly bucket: Bucket; readonly key: string }> {
  const [, , , name = "", ...rest] = new URL(c.req.url).pathname.split("/");
  const key = decoded(rest.join("/"));
  checkPath(key, "key");
  return { bucket: await requireBucket(c.var.deps.sql, c.var.user.id, decoded(name)), key };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidArgument("key", "its percent-encoding is not valid UTF-8.");
  }
}

/** @throws DataStreamError `not_found`, also for a bucket of somebody else. */
export async function requireBucket(sql: Sql, ownerId: string, name: string): Promise<Bucket> {
  const bucket = BucketName.safeParse(name).success ? await findBucket(sql, ownerId, name) : undefined;
  if (bucket !== undefined) return bucket;
  throw new DataStreamError(
    "not_found",
    "bucket: you have no bucket of this name. Create it with PUT /api/buckets/NAME.",
    {
      details: { field: "bucket" },
    },
  );
}

function requireText(text: string, field: string): void {
  if (!isPlainText(text)) throw invalidArgument(field, "contains a NUL or is not valid Unicode.");
}

function shown(bucket: string, object: StoredObject): z.infer<typeof ObjectSchema> {
  return {
    bucket,
    key: object.key,
    size: object.size,
    content_hash: toHex(object.contentHash),
    sha256: object.sha256 && toHex(object.sha256),
    created_at: object.createdAt.toISOString(),
  };
}

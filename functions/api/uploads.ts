import { createRoute, z } from "@hono/zod-openapi";
import { fromHex, toHex } from "../../core/bytes.ts";
import { invalidArgument } from "../../core/errors.ts";
import { PART_DEFAULT_BYTES, PART_MAX_BYTES, PARTS_MAX, PATH_MAX_BYTES } from "../../core/limits.ts";
import type { Upload, UploadPart } from "../../core/write-catalog.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import { putPart } from "../../storage/uploads/put-part.ts";
import { abortUpload, createUpload, describeUpload } from "../../storage/uploads/sessions.ts";
import { type Api, needsApiKey } from "./app.ts";
import { ObjectKey, requireBucket } from "./objects.ts";
import { HttpError, problems } from "./problem.ts";
import { BucketName, Digest, jsonAnswer, jsonBody, Time, Uuid } from "./schemas.ts";

const UploadParams = z.object({
  upload: Uuid.openapi({ param: { name: "upload", in: "path", description: "`upload_id` of its creation" } }),
});

const CreateUpload = z
  .discriminatedUnion("kind", [
    z.strictObject({
      bucket: BucketName,
      kind: z.literal("object"),
      key: ObjectKey,
      sha256: Digest.optional().openapi({
        description: "Refuses other content. Checked where the object is one part.",
      }),
      part_bytes: z.int().min(1024).max(PART_MAX_BYTES).optional().openapi({
        description: "A power of two: the size of every part but the last",
        example: PART_DEFAULT_BYTES,
      }),
    }),
    z.strictObject({
      bucket: BucketName,
      kind: z.literal("tar"),
      prefix: z
        .string()
        .max(PATH_MAX_BYTES)
        .default("")
        .openapi({ description: "Precedes the path of every entry", example: "train/" }),
    }),
  ])
  .openapi("CreateUpload");

const CreatedUpload = z
  .object({
    upload_id: Uuid,
    part_bytes: z.int().openapi({ example: PART_DEFAULT_BYTES }),
    lease_expires_at: Time,
  })
  .openapi("CreatedUpload");

const Part = z
  .object({
    part_number: z.int().openapi({ example: 1 }),
    size: z.int().openapi({ example: PART_DEFAULT_BYTES }),
    content_hash: Digest.openapi({ description: "BLAKE3 of the body" }),
    file_count: z.int().openapi({ description: "Files that the part holds; 1 of an object", example: 1 }),
  })
  .openapi("UploadPart");

const UploadedObject = z.object({
  bucket: BucketName,
  key: ObjectKey,
  size: z.int(),
  content_hash: Digest,
  sha256: Digest.nullable(),
});
const UploadResult = z
  .object({
    objects: z.int(),
    bytes: z.int(),
    chunks: z.int(),
    degraded_chunks: z
      .int()
      .openapi({ description: "Acknowledged with fewer than all shards; their repair goes first" }),
    object: UploadedObject.optional(),
  })
  .openapi("UploadResult");

const UploadSchema = z
  .object({
    upload_id: Uuid,
    bucket: BucketName,
    kind: z.enum(["object", "tar"]),
    key: z.string().openapi({ description: "Of a tar: its prefix" }),
    state: z.enum(["open", "completed", "aborted"]),
    part_bytes: z.int(),
    lease_expires_at: Time,
    parts: z.array(Part),
    result: UploadResult.optional(),
  })
  .openapi("Upload");

const createRouteOfUpload = createRoute({
  method: "post",
  path: "/api/uploads",
  tags: ["uploads"],
  summary: "Begin an upload",
  description:
    "Of one object of any size, or of many files as tars that the client cuts. Nothing of it is visible before it " +
    "is completed. It lapses when no part was accepted for a day.",
  ...needsApiKey,
  request: { body: jsonBody(CreateUpload) },
  responses: { 201: jsonAnswer(CreatedUpload, "It waits for parts"), ...problems(400, 401, 404, 413, 415) },
});

const describeRoute = createRoute({
  method: "get",
  path: "/api/uploads/{upload}",
  tags: ["uploads"],
  summary: "An upload and its accepted parts",
  ...needsApiKey,
  request: { params: UploadParams },
  responses: { 200: jsonAnswer(UploadSchema, "As it is now"), ...problems(400, 401, 404) },
});

const putPartRoute = createRoute({
  method: "put",
  path: "/api/uploads/{upload}/parts/{part}",
  tags: ["uploads"],
  summary: "Send one part",
  description:
    "The raw bytes, at most 64 MiB, with their number in Content-Length. Of an object every part but the last has exactly `part_bytes` bytes; of a tar " +
    "each part is a whole archive of at most 20,000 files. Answered when the part is durable. Sending a number again " +
    "replaces the part; parts may come in any order.",
  ...needsApiKey,
  request: {
    params: UploadParams.extend({
      part: z.coerce
        .number()
        .int()
        .min(1)
        .max(PARTS_MAX)
        .openapi({ type: "integer", param: { name: "part", in: "path" }, example: 1 }),
    }),
    body: {
      required: true,
      content: { "application/octet-stream": { schema: { type: "string", format: "binary" } } },
    },
  },
  responses: {
    200: jsonAnswer(Part, "The part is durable"),
    ...problems(400, 401, 404, 409, 411, 413, 499),
  },
});

const completeRoute = createRoute({
  method: "post",
  path: "/api/uploads/{upload}/complete",
  tags: ["uploads"],
  summary: "Make an upload visible",
  description: "In one transaction, replacing what its keys named. Repeating it answers the same.",
  ...needsApiKey,
  request: {
    params: UploadParams,
    body: jsonBody(
      z
        .strictObject({
          parts: z.int().min(0).max(PARTS_MAX).openapi({ description: "How many were sent", example: 1 }),
          content_hash: Digest.optional().openapi({
            description: "BLAKE3 of the whole object: refuses other content",
          }),
        })
        .openapi("CompleteUpload"),
    ),
  },
  responses: { 200: jsonAnswer(UploadResult, "It is visible"), ...problems(400, 401, 404, 409, 413, 415) },
});

const abortRoute = createRoute({
  method: "delete",
  path: "/api/uploads/{upload}",
  tags: ["uploads"],
  summary: "Give an upload up",
  ...needsApiKey,
  request: { params: UploadParams },
  responses: { 204: { description: "It is aborted" }, ...problems(400, 401, 404, 409) },
});

export function registerUploads(api: Api): void {
  api.openapi(createRouteOfUpload, async (c) => {
    const wanted = c.req.valid("json");
    const bucket = await requireBucket(c.var.deps.sql, c.var.user.id, wanted.bucket);
    const upload = await createUpload(c.var.invocation.writes, {
      bucketId: bucket.id,
      kind: wanted.kind,
      ...(wanted.kind === "tar"
        ? { key: wanted.prefix }
        : {
            key: wanted.key,
            ...(wanted.part_bytes !== undefined && { partBytes: wanted.part_bytes }),
            ...(wanted.sha256 !== undefined && { expectedSha256: fromHex(wanted.sha256) as Uint8Array }),
          }),
    });
    const { id, partBytes, leaseExpiresAt } = upload;
    return c.json(
      { upload_id: id, part_bytes: partBytes, lease_expires_at: leaseExpiresAt.toISOString() },
      201,
    );
  });

  api.openapi(describeRoute, async (c) => {
    const { upload, parts } = await describeUpload(
      c.var.invocation.writes,
      c.req.valid("param").upload,
      c.var.user.id,
    );
    return c.json(shownUpload(upload, parts), 200);
  });

  api.openapi(putPartRoute, async (c) => {
    const { upload: uploadId, part: partNumber } = c.req.valid("param");
    const declaredLength = declaredLengthOf(c.req.raw.headers);
    const body = c.req.raw.body ?? new Blob([]).stream();
    const part = await putPart(c.var.invocation.writes, {
      uploadId,
      ownerId: c.var.user.id,
      partNumber,
      body,
      declaredLength,
      signal: c.req.raw.signal,
    });
    return c.json(shownPart(part), 200);
  });

  api.openapi(completeRoute, async (c) => {
    const { parts, content_hash: hash } = c.req.valid("json");
    const result = await completeUpload(c.var.invocation.writes, {
      uploadId: c.req.valid("param").upload,
      ownerId: c.var.user.id,
      parts,
      ...(hash !== undefined && { contentHash: fromHex(hash) as Uint8Array }),
    });
    return c.json(result, 200);
  });

  api.openapi(abortRoute, async (c) => {
    await abortUpload(c.var.invocation.writes, c.req.valid("param").upload, c.var.user.id);
    return c.body(null, 204);
  });
}

/** Known before the first byte is read. @throws HttpError 411, 413 */
function declaredLengthOf(headers: Headers): number {
  const text = headers.get("content-length");
  if (text === null) {
    throw new HttpError(411, "invalid_argument", "Content-Length: say how many bytes the part has.", {
      details: { field: "Content-Length", limit: PART_MAX_BYTES },
    });
  }
  const length = Number(text);
  if (!Number.isSafeInteger(length) || length < 0)
    throw invalidArgument("Content-Length", "is not a number of bytes.");
  if (length <= PART_MAX_BYTES) return length;
  throw new HttpError(
    413,
    "invalid_argument",
    `body: a part has at most ${PART_MAX_BYTES} bytes. Cut it into more parts.`,
    {
      details: { field: "body", limit: PART_MAX_BYTES },
    },
  );
}

function shownPart(part: UploadPart): z.infer<typeof Part> {
  return {
    part_number: part.partNumber,
    size: part.size,
    content_hash: toHex(part.contentHash),
    file_count: part.fileCount,
  };
}

function shownUpload(upload: Upload, parts: readonly UploadPart[]): z.infer<typeof UploadSchema> {
  return {
    upload_id: upload.id,
    bucket: upload.bucketName,
    kind: upload.kind,
    key: upload.key,
    state: upload.state,
    part_bytes: upload.partBytes,
    lease_expires_at: upload.leaseExpiresAt.toISOString(),
    parts: parts.map(shownPart),
    ...(upload.result && { result: upload.result }),
  };
}

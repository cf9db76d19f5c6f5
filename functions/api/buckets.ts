import { createRoute, z } from "@hono/zod-openapi";
import {
  type Bucket,
  type BucketGeometry,
  ensureBucket,
  findBucket,
  listBuckets,
} from "../../catalog/buckets.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { shardSize } from "../../core/erasure/geometry.ts";
import {
  CHUNK_DEFAULT_BYTES,
  CHUNK_MAX_BYTES,
  CHUNK_MIN_BYTES,
  CODED_CHUNK_MAX_BYTES,
  DATA_SHARDS_MAX,
  LIST_MAX_ENTRIES,
  PARITY_SHARDS_MAX,
} from "../../core/limits.ts";
import { type Api, needsApiKey } from "./app.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { problems } from "./problem.ts";
import { BucketName, Cursor, jsonAnswer, optionalJson, pageLimit } from "./schemas.ts";

const DEFAULTS = { chunkBytes: CHUNK_DEFAULT_BYTES, dataShards: 4, parityShards: 2 };

const ChunkBytes = z
  .int()
  .min(CHUNK_MIN_BYTES)
  .max(CHUNK_MAX_BYTES)
  .refine((bytes) => Number.isInteger(Math.log2(bytes)), "must be a power of two.");
const BucketSchema = z
  .object({ name: BucketName, chunk_bytes: z.int(), data_shards: z.int(), parity_shards: z.int() })
  .openapi("Bucket", {
    example: { name: "datasets", chunk_bytes: 16777216, data_shards: 4, parity_shards: 2 },
  });
const BucketList = z
  .object({ buckets: z.array(BucketSchema), next_cursor: Cursor.nullable() })
  .openapi("BucketList");

const createBucketRoute = createRoute({
  method: "put",
  path: "/api/buckets/{bucket}",
  tags: ["buckets"],
  summary: "Create a bucket",
  description:
    "Idempotent. The geometry applies to every chunk written to the bucket and never changes: " +
    "`data_shards` of the `data_shards + parity_shards` storage nodes of a chunk suffice to read it.",
  ...needsApiKey,
  request: {
    params: z.object({ bucket: BucketName.openapi({ param: { name: "bucket", in: "path" } }) }),
    body: optionalJson(
      z
        .strictObject({
          chunk_bytes: ChunkBytes.optional(),
          data_shards: z.int().min(1).max(DATA_SHARDS_MAX).optional(),
          parity_shards: z.int().min(1).max(PARITY_SHARDS_MAX).optional(),
        })
        .openapi("CreateBucket", { example: { chunk_bytes: 16777216, data_shards: 4, parity_shards: 2 } }),
    ),
  },
  responses: {
    200: jsonAnswer(BucketSchema, "The bucket existed"),
    201: jsonAnswer(BucketSchema, "The bucket was created"),
    ...problems(400, 401, 409, 413, 415),
  },
});

const listBucketsRoute = createRoute({
  method: "get",
  path: "/api/buckets",
  tags: ["buckets"],
  summary: "List your buckets",
  ...needsApiKey,
  request: { query: z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) }) },
  responses: { 200: jsonAnswer(BucketList, "By name"), ...problems(400, 401) },
});

export function registerBuckets(api: Api): void {
  api.openapi(createBucketRoute, async (c) => {
    const { deps, user } = c.var;
    const { bucket: name } = c.req.valid("param");
    const wanted = c.req.valid("json");
    const geometry = {
      chunkBytes: wanted.chunk_bytes ?? DEFAULTS.chunkBytes,
      dataShards: wanted.data_shards ?? DEFAULTS.dataShards,
      parityShards: wanted.parity_shards ?? DEFAULTS.parityShards,
    };
    // What can be created depends on the nodes there are now; what exists does not.
    const existing = await findBucket(deps.sql, user.id, name);
    if (existing === undefined) {
      const live = [...deps.nodes.values()].filter((node) => node.state === "live").length;
      checkWritable(geometry, live);
    }
    const { bucket, created } = await ensureBucket(deps.sql, { ownerId: user.id, name, ...geometry });
    if (!created) requireSame(bucket, wanted);
    return c.json(shown(bucket), created ? 201 : 200);
  });

  api.openapi(listBucketsRoute, async (c) => {
    const { cursor, limit } = c.req.valid("query");
    const after = cursor === undefined ? "" : decodeCursor(cursor);
    const rows = await listBuckets(c.var.deps.sql, c.var.user.id, { after, limit: limit + 1 });
    const buckets = rows.slice(0, limit);
    const last = rows.length > limit ? buckets.at(-1) : undefined;
    const next_cursor = last === undefined ? null : encodeCursor(last.name);
    return c.json({ buckets: buckets.map(shown), next_cursor }, 200);
  });
}

/** @throws DataStreamError `invalid_argument` for a geometry with which no chunk could be stored. */
function checkWritable({ chunkBytes, dataShards, parityShards }: BucketGeometry, nodes: number): void {
  const shards = dataShards + parityShards;
  if (shards > nodes)
    throw invalidArgument("data_shards", `with parity_shards at most ${nodes}, one storage node for each.`, {
      limit: nodes,
    });
  const bytes = shards * shardSize(chunkBytes, dataShards);
  if (bytes > CODED_CHUNK_MAX_BYTES)
    throw invalidArgument(
      "chunk_bytes",
      `a chunk with its parity takes ${bytes} bytes; ${CODED_CHUNK_MAX_BYTES} are allowed. Choose smaller chunks, or less parity.`,
      { bytes, limit: CODED_CHUNK_MAX_BYTES },
    );
}

/** What the caller left out may be anything. */
function requireSame(bucket: Bucket, wanted: Readonly<Record<string, number | undefined>>): void {
  for (const [field, value] of Object.entries(shown(bucket))) {
    if (wanted[field] === undefined || wanted[field] === value) continue;
    throw new DataStreamError(
      "failed_precondition",
      `${field}: the bucket "${bucket.name}" exists with ${value}, which cannot change. Choose another name.`,
      { details: { field, existing: value } },
    );
  }
}

function shown(bucket: Bucket): z.infer<typeof BucketSchema> {
  return {
    name: bucket.name,
    chunk_bytes: bucket.chunkBytes,
    data_shards: bucket.dataShards,
    parity_shards: bucket.parityShards,
  };
}

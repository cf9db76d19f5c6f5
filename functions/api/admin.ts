import { createRoute, z } from "@hono/zod-openapi";
import { toHex } from "../../core/bytes.ts";
import { REPAIR_MAX_SHARDS, SCRUB_MAX_CHUNKS } from "../../core/limits.ts";
import { drainRepairs } from "../../storage/repair.ts";
import { scrubChunks } from "../../storage/scrub.ts";
import { collectOnce } from "../maintenance.ts";
import { type Api, needsAdmin } from "./app.ts";
import { problems } from "./problem.ts";
import { Digest, jsonAnswer, optionalJson, Uuid } from "./schemas.ts";

const Count = z.int().min(0);

const RepairReport = z
  .object({
    repaired: Count.openapi({ description: "Shards written anew and read back" }),
    acquitted: Count.openapi({ description: "Shards that were reported but are whole" }),
    failed: Count.openapi({ description: "Shards put off" }),
    remaining: Count.openapi({ description: "Shards that still wait, those put off included" }),
    shards: z.array(
      z.object({
        chunk_id: Uuid,
        shard_index: z.int().openapi({ example: 4 }),
        generation: z.int().openapi({ example: 1 }),
        node: z.string().openapi({ example: "node-2" }),
        hash: Digest.openapi({ description: "BLAKE3 of the shard" }),
      }),
    ),
    failures: z.array(z.string()).openapi({ description: "Why shards were put off" }),
  })
  .openapi("RepairReport");

const ScrubReport = z
  .object({
    chunks: Count,
    shards: Count,
    damaged: Count.openapi({ description: "Shards found missing or corrupt, now queued for repair" }),
    unanswered: Count.openapi({ description: "Shards whose node did not answer" }),
    next_chunk_id: Uuid.nullable().openapi({ description: "Give it as `after_chunk_id` to go on" }),
  })
  .openapi("ScrubReport");

const GarbageReport = z
  .object({
    aborted_uploads: Count,
    deleted_objects: Count,
    condemned_chunks: Count,
    deleted_chunks: Count,
    deleted_shards: Count,
    pruned_rows: Count,
    failed_nodes: z
      .array(z.string())
      .openapi({ description: "They did not confirm a deletion; it is tried again" }),
    has_more: z.boolean().openapi({ description: "Call again" }),
  })
  .openapi("GarbageReport");

const RepairRequest = z
  .strictObject({ max_shards: z.int().min(1).max(REPAIR_MAX_SHARDS).default(100) })
  .openapi("RepairRequest", { example: { max_shards: 100 } });

const ScrubRequest = z
  .strictObject({
    depth: z
      .enum(["size", "hash"])
      .default("size")
      .openapi({ description: "`size` asks for the length of each shard, `hash` reads every byte" }),
    max_chunks: z.int().min(1).max(SCRUB_MAX_CHUNKS).default(SCRUB_MAX_CHUNKS),
    after_chunk_id: Uuid.optional(),
  })
  .openapi("ScrubRequest");

const repairRoute = createRoute({
  method: "post",
  path: "/api/admin/repair",
  tags: ["operation"],
  summary: "Rewrite damaged shards now",
  description: "Those of degraded writes first. The scheduled run does the same.",
  ...needsAdmin,
  request: {
    body: optionalJson(RepairRequest),
  },
  responses: { 200: jsonAnswer(RepairReport, "What was done"), ...problems(400, 401, 403, 413, 415) },
});

const scrubRoute = createRoute({
  method: "post",
  path: "/api/admin/scrub",
  tags: ["operation"],
  summary: "Look for damaged shards",
  description: "Reads find damage where they pass; this looks everywhere, some chunks a call.",
  ...needsAdmin,
  request: {
    body: optionalJson(ScrubRequest),
  },
  responses: { 200: jsonAnswer(ScrubReport, "What was found"), ...problems(400, 401, 403, 413, 415) },
});

const garbageRoute = createRoute({
  method: "post",
  path: "/api/admin/gc",
  tags: ["operation"],
  summary: "Collect garbage now",
  description:
    "One bounded step: lapsed uploads end, unreferenced chunks are condemned, and deleted after the grace.",
  ...needsAdmin,
  responses: { 200: jsonAnswer(GarbageReport, "What was done"), ...problems(401, 403) },
});

export function registerAdmin(api: Api): void {
  api.openapi(repairRoute, async (c) => {
    const { max_shards: maxShards } = RepairRequest.parse(c.req.valid("json"));
    const { shards, ...counts } = await drainRepairs(c.var.invocation.repairs, {
      maxShards,
      signal: c.req.raw.signal,
    });
    return c.json(
      {
        ...counts,
        failures: [...counts.failures],
        shards: shards.map(({ chunkId, shardIndex, generation, node, hash }) => {
          return { chunk_id: chunkId, shard_index: shardIndex, generation, node, hash: toHex(hash) };
        }),
      },
      200,
    );
  });

  api.openapi(scrubRoute, async (c) => {
    const {
      depth,
      max_chunks: limit,
      after_chunk_id: afterChunkId,
    } = ScrubRequest.parse(c.req.valid("json"));
    const { nextChunkId, ...counts } = await scrubChunks(c.var.invocation.repairs, {
      depth,
      limit,
      ...(afterChunkId !== undefined && { afterChunkId }),
      signal: c.req.raw.signal,
    });
    return c.json({ ...counts, next_chunk_id: nextChunkId }, 200);
  });

  api.openapi(garbageRoute, async (c) => {
    const report = await collectOnce(c.var.deps, c.var.invocation);
    return c.json(
      {
        aborted_uploads: report.abortedUploads,
        deleted_objects: report.deletedObjects,
        condemned_chunks: report.condemnedChunks,
        deleted_chunks: report.deletedChunks,
        deleted_shards: report.deletedShards,
        pruned_rows: report.prunedRows,
        failed_nodes: [...report.failedNodes],
        has_more: report.hasMore,
      },
      200,
    );
  });
}

import { createRoute, z } from "@hono/zod-openapi";
import { listStorageNodes } from "../../catalog/nodes.ts";
import { countStorage } from "../../catalog/storage-health.ts";
import { NODE_PROBE_TIMEOUT_MS } from "../../core/limits.ts";
import type { ConnectionGate } from "../../storage/connections.ts";
import type { StorageNode } from "../../storage/nodes.ts";
import { type Api, needsApiKey } from "./app.ts";
import { problems } from "./problem.ts";
import { jsonAnswer, Uuid } from "./schemas.ts";

const NodeState = z
  .enum(["live", "draining"])
  .openapi({ description: "A draining node is read, but gets no new shard" });
const NodeName = z.string().openapi({ example: "node-1" });
const Count = z.int().min(0);

const NodeList = z
  .object({
    nodes: z.array(z.object({ id: Uuid, name: NodeName, kind: z.enum(["r2", "http"]), state: NodeState })),
  })
  .openapi("StorageNodeList");

const StorageHealth = z
  .object({
    nodes: z.array(
      z.object({
        name: NodeName,
        state: NodeState,
        reachable: z.boolean().openapi({ description: "It answered one probe just now" }),
        shards: Count.openapi({ description: "Of live chunks" }),
        missing_shards: Count.openapi({ description: "Of those, known to be missing or lying" }),
      }),
    ),
    chunks: z.object({ writing: Count, live: Count, condemned: Count }),
    degraded_chunks: Count.openapi({ description: "Live chunks with a shard that awaits repair" }),
    repair_queue: Count,
  })
  .openapi("StorageHealth");

const nodesRoute = createRoute({
  method: "get",
  path: "/api/nodes",
  tags: ["storage"],
  summary: "List the storage nodes",
  ...needsApiKey,
  responses: { 200: jsonAnswer(NodeList, "By name"), ...problems(401) },
});

const healthRoute = createRoute({
  method: "get",
  path: "/api/storage/health",
  tags: ["storage"],
  summary: "What is stored, and what awaits repair",
  description: "Probes every node once and counts every shard: for people and slow monitors.",
  ...needsApiKey,
  responses: { 200: jsonAnswer(StorageHealth, "As it is now"), ...problems(401) },
});

export function registerStorage(api: Api): void {
  api.openapi(nodesRoute, async (c) => {
    const nodes = byName(await listStorageNodes(c.var.deps.sql));
    return c.json({ nodes: nodes.map(({ id, name, kind, state }) => ({ id, name, kind, state })) }, 200);
  });

  api.openapi(healthRoute, async (c) => {
    const { deps, invocation } = c.var;
    const nodes = byName(deps.nodes.values());
    const [counts, reachable] = await Promise.all([
      countStorage(deps.sql),
      Promise.all(nodes.map((node) => answers(node, invocation.connections))),
    ]);
    const shards = new Map(counts.nodes.map((each) => [each.nodeId, each]));
    return c.json(
      {
        nodes: nodes.map(({ id, name, state }, index) => ({
          name,
          state,
          reachable: reachable[index] === true,
          shards: shards.get(id)?.shards ?? 0,
          missing_shards: shards.get(id)?.missing ?? 0,
        })),
        chunks: counts.chunks,
        degraded_chunks: counts.degradedChunks,
        repair_queue: counts.repairQueue,
      },
      200,
    );
  });
}

function byName<T extends { readonly name: string }>(nodes: Iterable<T>): T[] {
  return [...nodes].toSorted((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
}

/** One look for a key that never exists. */
async function answers(node: StorageNode, connections: ConnectionGate): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), NODE_PROBE_TIMEOUT_MS);
  const probe = connections
    .run(() => node.store.size("probe"))
    .then(
      () => true,
      () => false,
    );
  return Promise.race([probe, late]).finally(() => clearTimeout(timer));
}

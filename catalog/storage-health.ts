/** Counts over everything that is stored, for an operator's view. */
import type { Sql } from "../core/ports.ts";
import { numberOf, onlyRow, statement, textOf } from "./sql.ts";

export interface NodeShards {
  readonly nodeId: string;
  /** Of live chunks. */
  readonly shards: number;
  /** Of those, known to be missing or lying. */
  readonly missing: number;
}

export interface StorageCounts {
  /** Nodes without a shard are absent. */
  readonly nodes: readonly NodeShards[];
  readonly chunks: { readonly writing: number; readonly live: number; readonly condemned: number };
  /** Live chunks with a shard that awaits repair. */
  readonly degradedChunks: number;
  readonly repairQueue: number;
}

/** Reads every row of chunks and shards: a few seconds for tens of millions, so ask for it rarely. */
export async function countStorage(sql: Sql): Promise<StorageCounts> {
  const [byNode = [], totals = []] = await sql.transaction([
    statement`
      SELECT s.node_id, count(*) AS shards, count(*) FILTER (WHERE NOT s.stored) AS missing
      FROM shards s JOIN chunks c ON c.id = s.chunk_id AND c.state = 'live' GROUP BY s.node_id`,
    statement`
      SELECT count(*) FILTER (WHERE state = 'writing') AS writing, count(*) FILTER (WHERE state = 'live') AS live,
        count(*) FILTER (WHERE state = 'condemned') AS condemned,
        (SELECT count(DISTINCT s.chunk_id) FROM shards s JOIN chunks c ON c.id = s.chunk_id AND c.state = 'live'
          WHERE NOT s.stored) AS degraded,
        (SELECT count(*) FROM repair_queue) AS repair_queue
      FROM chunks`,
  ]);
  const row = onlyRow(totals);
  return {
    nodes: byNode.map((node) => ({
      nodeId: textOf(node, "node_id"),
      shards: numberOf(node, "shards"),
      missing: numberOf(node, "missing"),
    })),
    chunks: {
      writing: numberOf(row, "writing"),
      live: numberOf(row, "live"),
      condemned: numberOf(row, "condemned"),
    },
    degradedChunks: numberOf(row, "degraded"),
    repairQueue: numberOf(row, "repair_queue"),
  };
}

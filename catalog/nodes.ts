/** Storage nodes. */
import type { Sql } from "../core/ports.ts";

export interface NewStorageNode {
  readonly name: string;
  readonly kind: "r2" | "http";
  /** r2: name of the binding; http: base URL. */
  readonly address: string;
}

/** Registers the nodes that are not there yet; existing ones keep their state. */
export async function ensureStorageNodes(sql: Sql, nodes: readonly NewStorageNode[]): Promise<void> {
  await sql.query({
    text: `INSERT INTO storage_nodes (name, kind, address)
           SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING`,
    values: [
      nodes.map((node) => node.name),
      nodes.map((node) => node.kind),
      nodes.map((node) => node.address),
    ],
  });
}

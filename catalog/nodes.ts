/** Storage nodes: where shards may lie. */
import type { Sql } from "../core/ports.ts";
import { statement, textOf } from "./sql.ts";

export interface NewStorageNode {
  readonly name: string;
  readonly kind: "r2" | "http";
  /** r2: name of the binding; http: base URL. */
  readonly address: string;
}

export interface StorageNodeRow extends NewStorageNode {
  readonly id: string;
  readonly state: "live" | "draining";
}

/** Registers the nodes that are not there yet; existing ones keep their state. */
export async function ensureStorageNodes(sql: Sql, nodes: readonly NewStorageNode[]): Promise<void> {
  const [names, kinds, addresses] = [
    nodes.map((n) => n.name),
    nodes.map((n) => n.kind),
    nodes.map((n) => n.address),
  ];
  await sql.query(statement`
    INSERT INTO storage_nodes (name, kind, address)
    SELECT * FROM unnest(${names}::text[], ${kinds}::text[], ${addresses}::text[]) ON CONFLICT DO NOTHING`);
}

/** All of them; there are few. */
export async function listStorageNodes(sql: Sql): Promise<StorageNodeRow[]> {
  const rows = await sql.query(statement`SELECT id, name, kind, address, state FROM storage_nodes`);
  return rows.map((row) => ({
    id: textOf(row, "id"),
    name: textOf(row, "name"),
    kind: textOf(row, "kind") as StorageNodeRow["kind"],
    address: textOf(row, "address"),
    state: textOf(row, "state") as StorageNodeRow["state"],
  }));
}

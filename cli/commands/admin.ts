import type { Command } from "commander";
import { contextOf } from "../context.ts";
import { fields, table } from "../output.ts";

interface Health {
  readonly nodes: readonly {
    name: string;
    state: string;
    reachable: boolean;
    shards: number;
    missing_shards: number;
  }[];
  readonly chunks: Record<string, number>;
  readonly degraded_chunks: number;
  readonly repair_queue: number;
}

interface Repair {
  readonly repaired: number;
  readonly failed: number;
  readonly remaining: number;
}

export function registerAdmin(program: Command): void {
  const admin = program.command("admin").description("Look after the storage");

  admin
    .command("health")
    .description("Show storage nodes, chunks and what awaits repair")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const health = await client.gateway.json<Health>("GET", "/api/storage/health");
      output.result(health, () => {
        const nodes = table(
          ["NODE", "STATE", "REACHABLE", "SHARDS", "MISSING"],
          health.nodes.map((node) => [
            node.name,
            node.state,
            node.reachable ? "yes" : "NO",
            node.shards,
            node.missing_shards,
          ]),
        );
        const totals = fields("Chunks", {
          ...health.chunks,
          "with missing shards": health.degraded_chunks,
          "shards awaiting repair": health.repair_queue,
        });
        return `${nodes}\n${totals}`;
      });
    });

  admin
    .command("repair")
    .description("Rewrite missing and corrupt shards now")
    .option("--max-shards <n>", "stop after so many", Number)
    .action(async (options: { maxShards?: number }, command: Command) => {
      const { client, output } = contextOf(command);
      const repair = await client.gateway.json<Repair>("POST", "/api/admin/repair", {
        json: options.maxShards === undefined ? {} : { max_shards: options.maxShards },
      });
      output.result(repair, () =>
        fields("Repair", { Repaired: repair.repaired, Failed: repair.failed, Remaining: repair.remaining }),
      );
    });

  admin
    .command("gc")
    .description("Delete what nothing refers to any more")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const report = await client.gateway.json<Record<string, number>>("POST", "/api/admin/gc", { json: {} });
      output.result(report, () => fields("Garbage collection", report));
    });
}

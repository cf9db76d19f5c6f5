/** Brings a database to the newest schema, from the plain SQL files in `migrations/`. */
import { join } from "node:path";
import { runner } from "node-pg-migrate";
import { ROOT } from "./paths.ts";

export interface MigrateOptions {
  /** Direct address of the server: a migration holds a session lock, which a pooling proxy would lose. */
  readonly databaseUrl: string;
  /** "down" undoes one migration. Default "up": all that are missing. */
  readonly direction?: "up" | "down";
  readonly directory?: string;
}

/** Names of the migrations that ran; all of them in one transaction, so a failed one leaves the schema as it was. */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const direction = options.direction ?? "up";
  const ran = await runner({
    databaseUrl: options.databaseUrl,
    dir: options.directory ?? join(ROOT, "migrations"),
    direction,
    ...(direction === "down" && { count: 1 }),
    migrationsTable: "schema_migrations",
    singleTransaction: true,
    ignorePattern: "(?!.*\\.sql$).*",
    advisoryLockMode: "wait",
    log: () => {},
  });
  return ran.map(({ name }) => name);
}

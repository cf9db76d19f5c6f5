/**
 * What a new database needs before the gateway is of use: an administrating owner with an API key, and the
 * six storage nodes. As a command, for production:
 *
 *     node scripts/bootstrap.ts --database-url postgresql://… --owner NAME
 */
import { createHash, randomBytes } from "node:crypto";
import { Command } from "commander";
import { ensureStorageNodes } from "../catalog/nodes.ts";
import { createApiKey, createUser, findUserByName } from "../catalog/users.ts";
import type { Sql } from "../core/ports.ts";
import { connectSql } from "./stack/sql.ts";

export interface Bootstrapped {
  readonly userId: string;
  /** Shown this once: only its SHA-256 is kept. */
  readonly apiKey: string;
}

const NODE_COUNT = 6;

/**
 * Running it again is safe: an existing owner gets one more key, existing nodes stay as they are.
 * @throws Error when the name belongs to a user who is no administrator.
 */
export async function bootstrap(
  sql: Sql,
  { ownerName }: { readonly ownerName: string },
): Promise<Bootstrapped> {
  const existing = await findUserByName(sql, ownerName);
  if (existing !== undefined && existing.role !== "admin") {
    throw new Error(`The user "${ownerName}" exists and is no administrator: choose another name.`);
  }
  const { id: userId } = existing ?? (await createUser(sql, { name: ownerName, role: "admin" }));
  const apiKey = `cyx_${randomBytes(32).toString("base64url")}`;
  const keyHash = new Uint8Array(createHash("sha256").update(apiKey).digest());
  await createApiKey(sql, { userId, name: "bootstrap", keyHash });
  await ensureStorageNodes(
    sql,
    Array.from({ length: NODE_COUNT }, (_, index) => {
      return { name: `node-${index + 1}`, kind: "r2", address: `NODE_${index + 1}` } as const;
    }),
  );
  return { userId, apiKey };
}

async function main(): Promise<void> {
  const { databaseUrl, owner } = new Command("node scripts/bootstrap.ts")
    .description(
      "Creates the first owner and registers the six storage nodes. Prints the owner's API key once.",
    )
    .option(
      "--database-url <url>",
      "PostgreSQL connection string; default: $DATABASE_URL",
      process.env.DATABASE_URL,
    )
    .requiredOption("--owner <name>", "name of the administrating user")
    .parse()
    .opts<{ databaseUrl?: string; owner: string }>();
  if (!databaseUrl) throw new Error("Give --database-url, or set DATABASE_URL.");
  const sql = connectSql(databaseUrl);
  try {
    const { apiKey } = await bootstrap(sql, { ownerName: owner });
    console.error("API key of the owner; it is not stored and cannot be shown again:");
    console.log(apiKey);
  } finally {
    await sql.close();
  }
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}

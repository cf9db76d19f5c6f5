/**
 * Whether the migrations that made a kept database are those in the folder. A migration that ran is never run again, so
 * one whose text changed since leaves a database that the gateway does not fit. The database itself knows their names
 * alone; the state's directory keeps a hash of each.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import type { Sql } from "../../core/ports.ts";
import { ROOT } from "./paths.ts";
import { readJson, writePrivateJson } from "./state.ts";

/** The state was made by other migrations than these. Nothing of it was touched. */
export class MigrationsChangedError extends Error {
  override readonly name = "MigrationsChangedError";

  constructor(directory: string, changed: readonly string[]) {
    super(
      `The database in ${directory} was made by other migrations than those of this version (changed: ${changed.join(", ")}).\n` +
        `It is kept as it is. Start afresh beside it with:  npm start -- --directory ${directory}-new\n` +
        `or, if nothing in it is needed any more, remove it first:  rm -r ${directory}`,
    );
  }
}

/**
 * Call it before the migrations run: it also keeps the hashes of those that will.
 * @param directory of the state.
 * @throws MigrationsChangedError for one that ran with another text, is gone, or ran before hashes were kept.
 */
export async function checkAppliedMigrations(
  sql: Sql,
  directory: string,
  migrations: string = join(ROOT, "migrations"),
): Promise<void> {
  const file = join(directory, "migrations.json");
  const kept = readJson<Record<string, string>>(file) ?? {};
  const current = hashesOf(migrations);
  const changed = (await appliedNames(sql)).filter(
    (name) => kept[name] === undefined || kept[name] !== current[name],
  );
  if (changed.length > 0) throw new MigrationsChangedError(directory, changed);
  writePrivateJson(file, current);
}

function hashesOf(migrations: string): Record<string, string> {
  const files = readdirSync(migrations).filter((name) => name.endsWith(".sql"));
  return Object.fromEntries(
    files.toSorted().map((name) => {
      const hash = createHash("sha256").update(readFileSync(join(migrations, name)));
      return [basename(name, ".sql"), hash.digest("hex")];
    }),
  );
}

/** Oldest first; none where no migration ever ran. */
async function appliedNames(sql: Sql): Promise<string[]> {
  const [table] = await sql.query({
    text: "SELECT to_regclass('schema_migrations') IS NOT NULL AS present",
    values: [],
  });
  if (table?.["present"] !== true) return [];
  const rows = await sql.query({ text: "SELECT name FROM schema_migrations ORDER BY id", values: [] });
  return rows.map((row) => String(row["name"]));
}

/** `npm run migrate` with DATABASE_URL set: applies the missing migrations. On Neon use the direct host. */
import { migrate } from "./stack/migrate.ts";

const databaseUrl = process.env.DATABASE_URL;
if (!databaseUrl) {
  console.error("Set DATABASE_URL to the database's direct address (postgresql://…).");
  process.exit(1);
}
const names = await migrate({ databaseUrl, direction: process.argv.includes("--down") ? "down" : "up" });
console.log(names.length === 0 ? "The schema is current." : names.map((name) => `Ran ${name}`).join("\n"));

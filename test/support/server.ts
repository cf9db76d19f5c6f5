/**
 * One PostgreSQL and its bridge for a whole test run, as a child process of vitest: importing the bridge
 * into vitest itself would resolve `ws` to its browser build. Ends with its parent.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { migrate } from "../../scripts/stack/migrate.ts";
import { startNeonBridge } from "../../scripts/stack/neon-bridge.ts";
import { startPostgres } from "../../scripts/stack/postgres.ts";

/** Migrated once; every test database is a copy of it. */
const TEMPLATE = "app_template";

export interface TestServer {
  /** Of the database that administers the others. */
  readonly adminUrl: string;
  readonly template: string;
  /** 127.0.0.1:PORT */
  readonly bridge: string;
}

const scratch = mkdtempSync(join(tmpdir(), "cyxcloud-test-"));
chmodSync(scratch, 0o711); // the server's account has to pass
const postgres = await startPostgres({ directory: join(scratch, "postgres"), durable: false });
await postgres.createDatabase(TEMPLATE);
await migrate({ databaseUrl: postgres.url(TEMPLATE) });
const bridge = await startNeonBridge({ databasePort: postgres.port });

process.on("disconnect", () => {
  void (async () => {
    await bridge.stop();
    await postgres.stop();
    rmSync(scratch, { recursive: true, force: true });
    process.exit(0);
  })();
});
// Ctrl-C reaches the whole process group; the parent decides when to end.
process.on("SIGINT", () => {});
const server: TestServer = {
  adminUrl: postgres.url(),
  template: TEMPLATE,
  bridge: `127.0.0.1:${bridge.port}`,
};
process.send?.(server);

/** The real gateway in workerd for integration tests: fresh buckets, a fresh database, an owner. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bootstrap } from "../../scripts/bootstrap.ts";
import {
  type Gateway,
  type GatewayLog,
  type GatewayOptions,
  startGateway as start,
} from "../../scripts/stack/gateway.ts";
import { createSigningKeys } from "../../scripts/stack/state.ts";
import { createDatabase, type TestDatabase } from "./database.ts";

export interface TestGatewayOptions {
  /** Further bindings, for example `{ INVOCATION_SUBREQUESTS: "50" }`. */
  readonly bindings?: Readonly<Record<string, string>>;
  /** Default functions/gateway.ts. */
  readonly entry?: string;
  readonly onLog?: (line: GatewayLog) => void;
  /** Default: no test meets one by chance. */
  readonly rateLimits?: GatewayOptions["rateLimits"];
}

/** Tests make more requests in a second than any caller should. */
const NO_RATE_LIMITS = { read: 1e9, write: 1e9, stream: 1e9, sign_in: 1e9, address: 1e9 };

export interface TestGateway extends Gateway {
  readonly database: TestDatabase;
  readonly owner: Owner;
  /** Request of a path as the owner, unless the headers say otherwise. */
  request(path: string, init?: RequestInit): Promise<Response>;
}

export interface Owner {
  readonly userId: string;
  readonly apiKey: string;
}

/** An administrating user with an API key, and the six storage nodes. */
export function seedOwner(database: TestDatabase, ownerName = "owner"): Promise<Owner> {
  return bootstrap(database.sql, { ownerName });
}

/** About half a second. Stop it in `afterAll`. */
export async function startGateway(options: TestGatewayOptions = {}): Promise<TestGateway> {
  const database = await createDatabase();
  const owner = await seedOwner(database);
  const directory = mkdtempSync(join(tmpdir(), "cyxcloud-gateway-"));
  const gateway = await start({
    directory,
    bindings: {
      DATABASE_URL: database.url,
      NEON_LOCAL: database.bridge,
      SIGNING_KEYS: createSigningKeys(),
      ISSUER: "urn:cyxcloud:test",
      ...options.bindings,
    },
    rateLimits: { ...NO_RATE_LIMITS, ...options.rateLimits },
    ...(options.entry !== undefined && { entry: options.entry }),
    ...(options.onLog && { onLog: options.onLog }),
  });
  return {
    ...gateway,
    database,
    owner,
    request(path, init = {}) {
      const headers = new Headers(init.headers);
      if (!headers.has("authorization")) headers.set("authorization", `Bearer ${owner.apiKey}`);
      return fetch(new URL(path, gateway.url), { ...init, headers });
    },
    async stop() {
      await gateway.stop();
      await database.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

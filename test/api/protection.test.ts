/** What surrounds every request: rate limits, idempotency keys, protecting headers. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IDEMPOTENCY_LEASE_MS, IDEMPOTENCY_TTL_MS, RATE_LIMITS } from "../../core/limits.ts";
import type { GatewayLog } from "../../scripts/stack/gateway.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type DocumentedClient, documentedClient, type JsonAnswer } from "./documented.ts";
import { addUser } from "./users.ts";

const SERVICE = "/cyxcloud.datastream.DataStreamService/GetDatasetInfo";

describe("rate limits", () => {
  test("are the same in wrangler.toml and in the product", () => {
    const text = readFileSync(join(import.meta.dirname, "../../wrangler.toml"), "utf8");
    const found = text.matchAll(
      /name = "RATE_(\w+)"\nnamespace_id = "\d+"\nsimple = \{ limit = (\d+), period = (\d+) \}/g,
    );
    const declared = [...found].map(([, name = "", requests, seconds]) => [
      name.toLowerCase(),
      { requests: Number(requests), seconds: Number(seconds) },
    ]);
    expect(Object.fromEntries(declared)).toEqual(RATE_LIMITS);
  });

  // A burst may meet the border of two windows, so at most twice the limit passes.
  const BURST = 24;
  const LIMIT = 6;
  const statuses = async (send: () => Promise<Response>): Promise<number[]> =>
    (await Promise.all(Array.from({ length: BURST }, send))).map(({ status }) => status);
  const refused = (all: readonly number[]): number => all.filter((status) => status === 429).length;

  test("refuse who goes beyond, with when to come back, and nobody else", async () => {
    const logs: GatewayLog[] = [];
    const gateway = await startGateway({
      rateLimits: { read: LIMIT, stream: LIMIT },
      onLog: (line) => logs.push(line),
    });
    try {
      const client = await documentedClient(gateway);
      const other = await addUser(gateway, "other");
      const all = await statuses(() => client.request("/api/buckets"));
      expect(refused(all)).toBeGreaterThanOrEqual(BURST - 2 * LIMIT);
      expect(all.filter((status) => status === 200).length).toBeGreaterThanOrEqual(LIMIT);
      // Of two more bursts, the limit of at least one lies in a window that is already spent.
      const answers = await Promise.all(
        Array.from({ length: BURST }, () => client.json("GET", "/api/buckets")),
      );
      const problem = answers.find(({ status }) => status === 429) as JsonAnswer;
      expect(problem.headers.get("retry-after")).toBe(`${RATE_LIMITS.read.seconds}`);
      expect(problem.headers.get("access-control-allow-origin")).toBe("*");
      expect(problem.body).toMatchObject({ code: "resource_exhausted", status: 429 });

      const headers = { authorization: `Bearer ${other.apiKey}` };
      expect((await client.request("/api/buckets", { headers })).status).toBe(200);
      expect((await client.request("/api/buckets/mine", { method: "PUT" })).status).toBe(201);

      const call = (): Promise<Response> =>
        gateway.request(SERVICE, {
          method: "POST",
          body: "{}",
          headers: { "content-type": "application/json" },
        });
      expect(refused(await statuses(call))).toBeGreaterThanOrEqual(BURST - 2 * LIMIT);
      expect(logs.filter(({ level }) => level !== "info")).toEqual([]);
    } finally {
      await gateway.stop();
    }
  });

  test("count an address whatever credentials it makes up", async () => {
    const gateway = await startGateway({ rateLimits: { address: LIMIT } });
    try {
      let made = 0;
      const guess = (): Promise<Response> =>
        gateway.request("/api/buckets", { headers: { authorization: `Bearer guess-${made++}` } });
      expect(refused(await statuses(guess))).toBeGreaterThanOrEqual(BURST - 2 * LIMIT);
    } finally {
      await gateway.stop();
    }
  });
});

describe("a POST with an idempotency key", () => {
  const logs: GatewayLog[] = [];
  let gateway: TestGateway;
  let client: DocumentedClient;
  beforeAll(async () => {
    gateway = await startGateway({ onLog: (line) => logs.push(line) });
    client = await documentedClient(gateway);
  });
  afterAll(() => gateway.stop());

  const createKey = (name: string, key: string, headers = {}): Promise<JsonAnswer> =>
    client.json("POST", "/api/users/me/api-keys", { name }, { "idempotency-key": key, ...headers });
  const count = async (): Promise<number> => {
    const { body } = await client.json("GET", "/api/users/me/api-keys");
    return (body.api_keys as unknown[]).length;
  };

  test("takes effect once, and the first answer comes again, secrets included", async () => {
    const before = await count();
    const first = await createKey("once", "11111");
    expect(first.status).toBe(201);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const again = await createKey("once", "11111");
    expect(again).toMatchObject({ status: 201, body: first.body });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.headers.get("content-type")).toBe(first.headers.get("content-type"));
    expect(await count()).toBe(before + 1);
    const row = await gateway.database.sql.query({
      text: "SELECT row_to_json(r)::text AS row, encode(sealed_answer, 'escape') AS answer FROM idempotent_requests r",
      values: [],
    });
    expect(row).toHaveLength(1);
    expect(JSON.stringify(row)).not.toContain(first.body.key);
    expect(JSON.stringify(row)).not.toContain("11111");
  });

  test("runs once however many tries come at once", async () => {
    const before = await count();
    const answers = await Promise.all(Array.from({ length: 12 }, () => createKey("burst", "burst-1")));
    const created = answers.filter(({ status }) => status === 201);
    expect(created.length).toBeGreaterThanOrEqual(1);
    expect(new Set(created.map(({ body }) => body.id as string)).size).toBe(1);
    for (const answer of answers.filter(({ status }) => status !== 201)) {
      expect(answer).toMatchObject({ status: 409, body: { code: "aborted", field: "Idempotency-Key" } });
      expect(answer.headers.get("retry-after")).toBe("1");
    }
    expect(await count()).toBe(before + 1);
  });

  test("refuses another body, path or query, and keeps the key of another caller apart", async () => {
    const first = await createKey("mine", "shared");
    expect(await createKey("changed", "shared")).toMatchObject({
      status: 422,
      body: { code: "failed_precondition", field: "Idempotency-Key" },
    });
    const elsewhere = await client.json(
      "POST",
      "/api/users",
      { name: "mine" },
      { "idempotency-key": "shared" },
    );
    expect(elsewhere.status).toBe(422);
    const { apiKey } = await addUser(gateway, "neighbour");
    const other = await createKey("mine", "shared", { authorization: `Bearer ${apiKey}` });
    expect(other.status).toBe(201);
    expect(other.body.id).not.toBe(first.body.id);
  });

  test("repeats refusals too, but not failures for want of something", async () => {
    expect(await createKey("", "refused")).toMatchObject({ status: 400 });
    const again = await createKey("", "refused");
    expect(again).toMatchObject({ status: 400, body: { field: "name" } });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.headers.get("content-type")).toContain("application/problem+json");

    const { sql } = gateway.database;
    const rule = "ALTER TABLE api_keys ADD CONSTRAINT broken CHECK (name <> 'broken')";
    await sql.query({ text: rule, values: [] });
    expect(await createKey("broken", "failed")).toMatchObject({ status: 500 });
    expect(logs.map(({ message }) => message).join("\n")).toContain('constraint \\"broken');
    await sql.query({ text: "ALTER TABLE api_keys DROP CONSTRAINT broken", values: [] });
    expect(await createKey("broken", "failed")).toMatchObject({ status: 201 });
  });

  test("is forgotten after its time, and one whose gateway died may be tried again", async () => {
    const { sql } = gateway.database;
    const age = (ms: number, running: boolean): Promise<unknown> =>
      sql.query({
        text: `UPDATE idempotent_requests SET created_at = now() - $1::double precision * interval '1 ms'
               ${running ? ", status = NULL, sealed_answer = NULL" : ""}`,
        values: [ms],
      });
    const first = await createKey("aged", "aged");
    await age(IDEMPOTENCY_LEASE_MS + 1000, false);
    expect((await createKey("aged", "aged")).body).toEqual(first.body);
    await age(IDEMPOTENCY_TTL_MS + 1000, false);
    const second = await createKey("other name", "aged");
    expect(second).toMatchObject({ status: 201, body: { name: "other name" } });

    await age(1000, true);
    expect(await createKey("other name", "aged")).toMatchObject({ status: 409, body: { code: "aborted" } });
    await age(IDEMPOTENCY_LEASE_MS + 1000, true);
    expect(await createKey("third name", "aged")).toMatchObject({ status: 422 });
    expect(await createKey("other name", "aged")).toMatchObject({ status: 201 });

    await age(IDEMPOTENCY_TTL_MS + 1000, false);
    await gateway.dispatchScheduled();
    expect(await sql.query({ text: "SELECT 1 AS one FROM idempotent_requests", values: [] })).toEqual([]);
  });

  test.for(["with space", "x".repeat(256), "ümlaut"])("is refused when the key is %j", async (key) => {
    expect(await createKey("never", key)).toMatchObject({ status: 400, body: { field: "Idempotency-Key" } });
  });

  test("means nothing to other methods", async () => {
    const headers = { "idempotency-key": "get" };
    for (let i = 0; i < 2; i++) {
      const { headers: answered } = await client.json("GET", "/api/buckets", undefined, headers);
      expect(answered.get("idempotency-replayed")).toBeNull();
    }
  });
});

describe("lists", () => {
  test("of buckets and of versions go on where the last page ended", async () => {
    const gateway = await startGateway();
    try {
      const client = await documentedClient(gateway);
      const names = ["alpha", "beta", "delta", "gamma", "omega"];
      for (const name of names.toReversed()) await client.json("PUT", `/api/buckets/${name}`);
      const first = await client.json("GET", "/api/buckets?limit=3");
      const rest = await client.json("GET", `/api/buckets?limit=3&cursor=${first.body.next_cursor}`);
      const listed = [...first.body.buckets, ...rest.body.buckets] as { name: string }[];
      expect(listed.map(({ name }) => name)).toEqual(names);
      expect(rest.body.next_cursor).toBeNull();
      expect(await client.json("GET", "/api/buckets?limit=1001")).toMatchObject({
        status: 400,
        body: { limit: 1000 },
      });
      expect(await client.json("GET", "/api/buckets?page=2")).toMatchObject({
        status: 400,
        body: { field: "page" },
      });
    } finally {
      await gateway.stop();
    }
  });

  test("all have a cursor and a limit of at most 1,000", async () => {
    const gateway = await startGateway();
    try {
      const { document } = await documentedClient(gateway);
      const unpaged = Object.entries(document.paths)
        .filter(
          ([, { get }]) => get !== undefined && (get as { summary?: string }).summary?.startsWith("List "),
        )
        .filter(([, { get }]) => {
          const { parameters = [] } = get as { parameters?: { name: string }[] };
          return !["cursor", "limit"].every((name) => parameters.some((each) => each.name === name));
        })
        .map(([path]) => path);
      // A gateway has as many storage nodes as bindings.
      expect(unpaged).toEqual(["/api/nodes"]);
    } finally {
      await gateway.stop();
    }
  });
});

test("every surface sends the headers that protect its answers", async () => {
  const gateway = await startGateway();
  try {
    const answers = await Promise.all([
      gateway.request("/healthz"),
      gateway.request("/openapi.json"),
      gateway.request("/docs"),
      gateway.request("/.well-known/jwks.json"),
      gateway.request("/api/buckets"),
      gateway.request("/api/buckets", { method: "POST" }),
      gateway.request("/api/buckets", { headers: { authorization: "Bearer x" } }),
      gateway.request("/nothing"),
      gateway.request(SERVICE, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: "{}",
      }),
      gateway.request(SERVICE, { method: "POST", headers: { "content-type": "application/grpc" }, body: "" }),
      gateway.request("/cyxcloud.datastream.DataStreamService/StreamBatches", {
        method: "POST",
        headers: { "content-type": "application/connect+proto" },
        body: new Uint8Array(5),
      }),
    ]);
    for (const { headers, url, status } of answers) {
      const name = `${url} ${status}`;
      expect(headers.get("strict-transport-security"), name).toMatch(/^max-age=\d{8,}/);
      expect(headers.get("x-content-type-options"), name).toBe("nosniff");
      expect(headers.get("x-frame-options"), name).toBe("DENY");
      expect(headers.get("referrer-policy"), name).toBe("no-referrer");
      expect(headers.get("permissions-policy"), name).toContain("camera=()");
      expect(headers.get("cross-origin-opener-policy"), name).toBe("same-origin");
      expect(headers.get("content-security-policy"), name).toMatch(
        /default-src 'none'.*frame-ancestors 'none'/,
      );
      expect(headers.get("x-request-id"), name).toMatch(/^[0-9a-f-]{36}$/);
      expect(headers.get("cache-control"), name).not.toBeNull();
      expect(headers.get("server"), name).toBeNull();
      expect(headers.get("x-powered-by"), name).toBeNull();
    }
  } finally {
    await gateway.stop();
  }
});

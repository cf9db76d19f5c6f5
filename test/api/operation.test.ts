import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GatewayLog } from "../../scripts/stack/gateway.ts";
import { bootstrap } from "../../scripts/bootstrap.ts";
import { createSigningKeys } from "../../scripts/stack/state.ts";
import { createDatabase } from "../support/database.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

type Line = Record<string, unknown> & { readonly event: string; readonly level: string };

const JWT = `eyJhbGciOiJFZDI1NTE5In0.eyJzdWIiOiJ4In0.${"s".repeat(86)}`;

const linesOf = (logs: readonly GatewayLog[]): Line[] =>
  logs.map(({ message }) => JSON.parse(message) as Line);

describe("log lines", () => {
  const logs: GatewayLog[] = [];
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startGateway({ onLog: (line) => logs.push(line) });
  });
  afterAll(() => gateway.stop());

  test("are JSON, one for each request, with who asked and how it ended", async () => {
    const response = await gateway.request("/api/buckets/Not-Valid", { method: "PUT" });
    await response.arrayBuffer();
    const requestId = response.headers.get("x-request-id");
    const line = linesOf(logs).find((each) => each["request_id"] === requestId);
    expect(line).toMatchObject({
      level: "info",
      event: "request",
      method: "PUT",
      path: "/api/buckets/Not-Valid",
      status: 400,
      code: "invalid_argument",
      user_id: gateway.owner.userId,
    });
    expect(line?.["ms"]).toBeTypeOf("number");
  });

  test("hold no key and no token, wherever a request carries one", async () => {
    const { apiKey } = gateway.owner;
    const unknown = `cyx_${"u".repeat(43)}`;
    for (const secret of [apiKey, unknown, JWT]) {
      const headers = { authorization: `Bearer ${secret}`, "content-type": "application/json" };
      await gateway.request(`/api/buckets?token=${secret}`, { headers });
      await gateway.request(`/api/objects/bucket/${secret}`, { headers });
      await gateway.request(`/api/datasets/${secret}`, { headers });
      await gateway.request(`/${secret}`, { headers });
      const body = JSON.stringify({ token: secret, [secret]: secret });
      await gateway.request("/api/tokens/verify", { method: "POST", headers, body });
      await gateway.request("/api/uploads", { method: "POST", headers, body });
      await gateway.request("/cyxcloud.datastream.DataStreamService/GetDatasetInfo", {
        method: "POST",
        headers,
        body: JSON.stringify({ datasetId: secret, accessToken: secret }),
      });
    }
    const text = logs.map(({ message }) => message).join("\n");
    expect(text).toContain("[redacted]");
    for (const secret of [apiKey, unknown, JWT]) {
      expect(text).not.toContain(secret);
      expect(text).not.toContain(encodeURIComponent(secret));
    }
  });
});

describe("without its database", () => {
  const logs: GatewayLog[] = [];
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startGateway({
      bindings: { DATABASE_URL: "postgresql://app:hunter2@127.0.0.1:9/none", NEON_LOCAL: "127.0.0.1:9" },
      onLog: (line) => logs.push(line),
    });
  });
  afterAll(() => gateway.stop());

  test("the gateway runs, answers that it cannot, and tells its operator why without the password", async () => {
    expect((await gateway.request("/healthz")).status).toBe(200);
    const response = await gateway.request("/api/buckets");
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("1");
    const problem = await response.text();
    expect(JSON.parse(problem)).toMatchObject({ code: "unavailable", status: 503 });
    const failure = linesOf(logs).find((each) => each.event === "failure");
    expect(failure).toMatchObject({ level: "error", code: "unavailable", fault: "system" });
    expect(failure?.["causes"]).not.toEqual([]);
    for (const text of [problem, JSON.stringify(logs)]) expect(text).not.toContain("hunter2");
  });
});

describe("pages of other origins", () => {
  test("may call, with the headers that they need", async () => {
    const gateway = await startGateway();
    try {
      const preflight = await fetch(new URL("/api/objects/data/key", gateway.url), {
        method: "OPTIONS",
        headers: {
          origin: "https://console.example",
          "access-control-request-method": "PUT",
          "access-control-request-headers": "authorization,range",
        },
      });
      expect(preflight.status).toBe(204);
      expect(preflight.headers.get("access-control-allow-origin")).toBe("*");
      expect(preflight.headers.get("access-control-allow-headers")).toMatch(/authorization.*range/i);
      expect(preflight.headers.get("access-control-allow-credentials")).toBeNull();
      const answer = await gateway.request("/api/buckets", {
        headers: { origin: "https://console.example" },
      });
      expect(answer.headers.get("access-control-expose-headers")).toContain("ETag");
    } finally {
      await gateway.stop();
    }
  });
});

describe("bootstrap", () => {
  test("creates an administrator, a key of which only the hash is kept, and six nodes; again adds a key", async () => {
    const database = await createDatabase();
    const { sql } = database;
    const first = await bootstrap(sql, { ownerName: "ada" });
    const second = await bootstrap(sql, { ownerName: "ada" });
    expect(first.apiKey).toMatch(/^cyx_[A-Za-z0-9_-]{43}$/);
    expect(second.userId).toBe(first.userId);
    expect(second.apiKey).not.toBe(first.apiKey);

    const rows = async (text: string): Promise<unknown[]> => [...(await sql.query({ text, values: [] }))];
    expect(await rows("SELECT name, role FROM users")).toEqual([{ name: "ada", role: "admin" }]);
    expect(await rows("SELECT name, address FROM storage_nodes ORDER BY name")).toEqual(
      [1, 2, 3, 4, 5, 6].map((n) => ({ name: `node-${n}`, address: `NODE_${n}` })),
    );
    const everything = JSON.stringify(await rows("SELECT row_to_json(k)::text AS key FROM api_keys k"));
    for (const { apiKey } of [first, second]) expect(everything).not.toContain(apiKey.slice(4));
    await sql.query({ text: "INSERT INTO users (name, role) VALUES ('eve', 'owner')", values: [] });
    await expect(bootstrap(sql, { ownerName: "eve" })).rejects.toThrow(/no administrator/);
    await expect(bootstrap(sql, { ownerName: "Not A Name" })).rejects.toMatchObject({
      code: "invalid_argument",
    });
    await database.close();
  });

  test("as a command prints the key alone, and nothing of the database's address when it fails", async () => {
    const database = await createDatabase();
    const run = (...options: string[]): ReturnType<typeof spawnSync> & { stdout: string; stderr: string } =>
      spawnSync(process.execPath, ["scripts/bootstrap.ts", ...options], { encoding: "utf8", env: {} });
    const done = run("--database-url", database.url, "--owner", "grace");
    expect(done.stdout).toMatch(/^cyx_[A-Za-z0-9_-]{43}\n$/);
    expect(done.status).toBe(0);
    expect(run("--owner", "grace")).toMatchObject({ status: 1, stdout: "" });
    const failed = run("--database-url", "postgresql://app:hunter2@127.0.0.1:9/none", "--owner", "grace");
    expect(failed).toMatchObject({ status: 1, stdout: "" });
    expect(failed.stderr).not.toContain("hunter2");
    await database.close();
  });

  test("a signing key is a private Ed25519 JWK with a kid of its own", () => {
    const [one, two] = [createSigningKeys(), createSigningKeys()].map(
      (text) => (JSON.parse(text) as { keys: Record<string, string>[] }).keys,
    );
    expect(one).toHaveLength(1);
    expect(one?.[0]).toMatchObject({ kty: "OKP", crv: "Ed25519", alg: "Ed25519" });
    expect(one?.[0]?.["kid"]).not.toBe(two?.[0]?.["kid"]);
  });
});

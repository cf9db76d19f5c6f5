import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RATE_LIMITS, SESSION_TTL_SECONDS } from "../../core/limits.ts";
import type { GatewayLog } from "../../scripts/stack/gateway.ts";
import { type DocumentedClient, documentedClient } from "../api/documented.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const PASSWORD = "correct horse battery";
const COOKIE = /^(__Host-cyxcloud-session=[^;]+); Max-Age=(\d+); Path=\/; HttpOnly; Secure; SameSite=Strict$/;

interface Page {
  /** What the browser would send, or undefined. */
  cookie: string | undefined;
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
}

/** A page of the gateway itself in a browser: cookies and origin, no API key. */
function openPage(gateway: TestGateway): Page {
  const page: Page = {
    cookie: undefined,
    async send(method, path, body, headers = {}) {
      const response = await fetch(new URL(path, gateway.url), {
        method,
        headers: {
          ...(method !== "GET" && { origin: new URL(gateway.url).origin }),
          ...(body !== undefined && { "content-type": "application/json" }),
          ...(page.cookie !== undefined && { cookie: page.cookie }),
          ...headers,
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      for (const set of response.headers.getSetCookie()) {
        const [pair = ""] = set.split(";");
        if (pair.startsWith("__Host-cyxcloud-session=")) page.cookie = pair.endsWith("=") ? undefined : pair;
      }
      return response;
    },
  };
  return page;
}

describe("a gateway that is open to strangers", () => {
  const logs: GatewayLog[] = [];
  let gateway: TestGateway;
  let client: DocumentedClient;
  beforeAll(async () => {
    gateway = await startGateway({ bindings: { SIGN_UP: "open" }, onLog: (line) => logs.push(line) });
    client = await documentedClient(gateway);
  });
  afterAll(() => gateway.stop());

  const account = (name: string): { name: string; email: string; password: string } => ({
    name,
    email: `${name}@example.com`,
    password: PASSWORD,
  });

  test("lets one sign up, work, sign out and sign in again, as an owner", async () => {
    const page = openPage(gateway);
    const up = await page.send("POST", "/api/auth/sign-up", { ...account("ada"), email: "Ada@Example.com" });
    expect(up.status).toBe(204);
    const [, pair, age] = COOKIE.exec(up.headers.getSetCookie()[0] as string) ?? [];
    expect(pair).toBe(page.cookie);
    expect(Number(age)).toBe(SESSION_TTL_SECONDS);

    const me = await page.send("GET", "/api/users/me");
    expect(await me.json()).toMatchObject({ name: "ada", role: "owner" });
    expect((await page.send("PUT", "/api/buckets/photos")).status).toBe(201);
    expect((await page.send("GET", "/api/users")).status).toBe(403);
    const old = page.cookie as string;

    expect((await page.send("POST", "/api/auth/sign-out")).status).toBe(204);
    expect(page.cookie).toBeUndefined();
    expect((await page.send("GET", "/api/users/me", undefined, { cookie: old })).status).toBe(401);

    const back = await page.send("POST", "/api/auth/sign-in", {
      email: "ADA@example.com",
      password: PASSWORD,
    });
    expect(back.status).toBe(204);
    expect(page.cookie).not.toBe(old);
    expect(await (await page.send("GET", "/api/buckets")).json()).toMatchObject({
      buckets: [{ name: "photos" }],
    });
  });

  test("makes nobody an administrator, and refuses fields that would", async () => {
    const page = openPage(gateway);
    const answer = await page.send("POST", "/api/auth/sign-up", { ...account("eve"), role: "admin" });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ field: "role" });
  });

  test("answers a wrong password and an unknown address alike", async () => {
    await openPage(gateway).send("POST", "/api/auth/sign-up", account("grace"));
    const attempt = async (email: string, password: string): Promise<unknown> => {
      const answer = await client.json("POST", "/api/auth/sign-in", { email, password });
      const { request_id: _, ...problem } = (answer.body ?? {}) as Record<string, unknown>;
      return { status: answer.status, cookies: answer.headers.getSetCookie(), problem };
    };
    const wrong = await attempt("grace@example.com", "not the password");
    expect(wrong).toMatchObject({ status: 401, cookies: [], problem: { code: "unauthenticated" } });
    expect(await attempt("nobody@example.com", PASSWORD)).toEqual(wrong);
    expect(await attempt("grace@example.com", PASSWORD)).toMatchObject({ status: 204 });
  });

  test("refuses names and addresses that are taken, and leaves nothing behind", async () => {
    await openPage(gateway).send("POST", "/api/auth/sign-up", account("linus"));
    const again = (change: Record<string, string>): Promise<{ status: number; body: unknown }> =>
      client.json("POST", "/api/auth/sign-up", { ...account("linus"), ...change });
    expect(await again({ name: "other" })).toMatchObject({
      status: 409,
      body: { code: "already_exists", field: "email" },
    });
    expect(await again({ email: "x@example.com" })).toMatchObject({
      status: 409,
      body: { code: "already_exists", field: "name" },
    });
    const rows = await gateway.database.sql.query({
      text: "SELECT name FROM users WHERE name = 'other' OR email = 'x@example.com'",
      values: [],
    });
    expect(rows).toEqual([]);
  });

  test.for([
    [{ password: "short" }, "password"],
    [{ password: "x".repeat(129) }, "password"],
    [{ email: "no address" }, "email"],
    [{ name: "Not A Name" }, "name"],
    [{ name: "me" }, "name"],
  ] as const)("refuses %j", async ([change, field]) => {
    const answer = await client.json("POST", "/api/auth/sign-up", { ...account("refused"), ...change });
    expect(answer).toMatchObject({ status: 400, body: { field } });
  });

  test("takes no change from a page of another site, and no forged or ended session", async () => {
    const page = openPage(gateway);
    await page.send("POST", "/api/auth/sign-up", account("victim"));
    for (const origin of [
      "https://evil.example",
      "null",
      `${new URL(gateway.url).origin}.evil.example`,
      "",
    ]) {
      const answer = await page.send("PUT", "/api/buckets/stolen", undefined, { origin });
      expect(answer.status, origin).toBe(403);
      expect(await answer.json()).toMatchObject({ code: "permission_denied" });
      expect((await page.send("POST", "/api/auth/sign-out", undefined, { origin })).status, origin).toBe(403);
    }
    expect((await page.send("PUT", "/api/buckets/kept")).status).toBe(201);

    const good = page.cookie as string;
    const [token = "", signature = ""] = decodeURIComponent(good.slice(good.indexOf("=") + 1)).split(".");
    const other = signature.startsWith("A") ? `B${signature.slice(1)}` : `A${signature.slice(1)}`;
    for (const value of [token, `${token}.`, `${token}.${other}`, `${token}x.${signature}`, "x", ""]) {
      const cookie = `__Host-cyxcloud-session=${encodeURIComponent(value)}`;
      expect((await page.send("GET", "/api/users/me", undefined, { cookie })).status, value).toBe(401);
    }
    const { sql } = gateway.database;
    await sql.query({ text: "UPDATE sessions SET expires_at = now() - interval '1 second'", values: [] });
    expect((await page.send("GET", "/api/users/me")).status).toBe(401);
    await gateway.dispatchScheduled();
    expect(await sql.query({ text: "SELECT 1 AS one FROM sessions", values: [] })).toEqual([]);
  });

  test("keeps passwords and sessions out of its database and its logs", async () => {
    const page = openPage(gateway);
    const secret = "a password like no other";
    await page.send("POST", "/api/auth/sign-up", { ...account("secretive"), password: secret });
    await page.send("GET", "/api/users/me");
    const value = decodeURIComponent((page.cookie as string).split("=")[1] as string);
    const [token = ""] = value.split(".");
    expect(token.length).toBeGreaterThanOrEqual(32);
    const rows = await gateway.database.sql.query({
      text: `SELECT row_to_json(s)::text AS row FROM sessions s UNION ALL SELECT row_to_json(a)::text FROM accounts a
             UNION ALL SELECT row_to_json(u)::text FROM users u`,
      values: [],
    });
    const text = JSON.stringify(rows) + logs.map(({ message }) => message).join("\n");
    expect(text).toContain("scrypt$");
    for (const each of [secret, token]) expect(text).not.toContain(each);
  });
});

describe("any other gateway", () => {
  let gateway: TestGateway;
  let client: DocumentedClient;
  beforeAll(async () => {
    gateway = await startGateway({ rateLimits: { sign_in: 4 } });
    client = await documentedClient(gateway);
  });
  afterAll(() => gateway.stop());

  test("has its users from administrators, who choose a password with their API key", async () => {
    const page = openPage(gateway);
    const stranger = { name: "stranger", email: "stranger@example.com", password: PASSWORD };
    expect((await page.send("POST", "/api/auth/sign-up", stranger)).status).toBe(403);

    const chosen = { email: "owner@example.com", password: PASSWORD };
    expect(await client.json("PUT", "/api/users/me/sign-in", chosen)).toMatchObject({ status: 204 });
    expect((await page.send("POST", "/api/auth/sign-in", chosen)).status).toBe(204);
    expect(await (await page.send("GET", "/api/users/me")).json()).toMatchObject({
      name: "owner",
      role: "admin",
    });
    expect((await page.send("POST", "/api/users", { name: "hired" })).status).toBe(201);
    // Routes that access tokens open too know sessions as well.
    expect(await (await page.send("GET", "/api/datasets/none")).json()).toMatchObject({ code: "not_found" });
    const both = { authorization: "Bearer none" };
    expect((await page.send("GET", "/api/datasets/none", undefined, both)).status).toBe(401);
    expect((await page.send("GET", "/api/users/me", undefined, both)).status).toBe(401);

    const changed = { ...chosen, password: "another long password" };
    expect((await page.send("PUT", "/api/users/me/sign-in", changed)).status).toBe(204);
    expect((await page.send("GET", "/api/users/me")).status).toBe(401);

    const { body } = await client.json("POST", "/api/users", { name: "second" });
    const taken = await client.json("PUT", "/api/users/me/sign-in", chosen, {
      authorization: `Bearer ${body.api_key.key}`,
    });
    expect(taken).toMatchObject({ status: 409, body: { code: "already_exists", field: "email" } });
  });

  test("lets an address try few passwords in a minute", async () => {
    const attempt = (): Promise<{ status: number; headers: Headers }> =>
      client.json("POST", "/api/auth/sign-in", { email: "owner@example.com", password: "a wrong guess" });
    const answers = await Promise.all(Array.from({ length: 12 }, attempt));
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThanOrEqual(12 - 2 * 4);
    expect(refused[0]?.headers.get("retry-after")).toBe(`${RATE_LIMITS.sign_in.seconds}`);
  });
});

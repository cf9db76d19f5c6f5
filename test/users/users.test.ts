import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { API_KEYS_MAX_PER_USER } from "../../core/limits.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type DocumentedClient, documentedClient, type JsonAnswer } from "../api/documented.ts";
import { addUser } from "../api/users.ts";

let gateway: TestGateway;
let client: DocumentedClient;
beforeAll(async () => {
  gateway = await startGateway();
  client = await documentedClient(gateway);
});
afterAll(() => gateway.stop());

const as = (apiKey: string) => {
  const headers = { authorization: `Bearer ${apiKey}` };
  return (method: string, path: string, body?: unknown): Promise<JsonAnswer> =>
    client.json(method, path, body, headers);
};

describe("users", () => {
  test("are created by administrators, with a key that works at once and is stored as its hash alone", async () => {
    const created = await client.json("POST", "/api/users", { name: "ada" });
    expect(created).toMatchObject({
      status: 201,
      body: { name: "ada", role: "owner", api_key: { name: "first" } },
    });
    expect(created.headers.get("cache-control")).toBe("no-store");
    const { key } = created.body.api_key as { key: string };
    expect(key).toMatch(/^cyx_[A-Za-z0-9_-]{43}$/);
    expect(await as(key)("GET", "/api/users/me")).toMatchObject({
      status: 200,
      body: { id: created.body.id, name: "ada", role: "owner" },
    });
    const rows = await gateway.database.sql.query({
      text: "SELECT row_to_json(k)::text AS row FROM api_keys k",
      values: [],
    });
    expect(JSON.stringify(rows)).not.toContain(key.slice(4));
  });

  test("are refused under a name that is taken, malformed or reserved, or with an unknown role", async () => {
    await client.json("POST", "/api/users", { name: "twice" });
    expect(await client.json("POST", "/api/users", { name: "twice" })).toMatchObject({
      status: 409,
      body: { code: "already_exists", field: "name" },
    });
    for (const name of ["", "Ada", "-ada", "a".repeat(65), "a b", "me"])
      expect(await client.json("POST", "/api/users", { name }), name).toMatchObject({
        status: 400,
        body: { field: "name" },
      });
    expect(await client.json("POST", "/api/users", { name: "root", role: "root" })).toMatchObject({
      status: 400,
      body: { field: "role", allowed: ["owner", "admin"] },
    });
  });

  test("are neither created nor listed by owners; an administrator made by another can do both", async () => {
    const owner = as((await addUser(gateway, "plain")).apiKey);
    expect(await owner("POST", "/api/users", { name: "sub" })).toMatchObject({ status: 403 });
    expect(await owner("GET", "/api/users")).toMatchObject({ status: 403 });
    const admin = await client.json("POST", "/api/users", { name: "second-admin", role: "admin" });
    const second = as(admin.body.api_key.key as string);
    expect(await second("POST", "/api/users", { name: "sub" })).toMatchObject({ status: 201 });
    expect(await second("GET", "/api/users")).toMatchObject({ status: 200 });
  });

  test("are listed by name, page by page, each once", async () => {
    for (const name of ["page-a", "page-b", "page-c"]) await addUser(gateway, name);
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null;) {
      const { body, status }: JsonAnswer = await client.json(
        "GET",
        `/api/users?limit=2${cursor === "" ? "" : `&cursor=${cursor}`}`,
      );
      expect(status).toBe(200);
      expect(body.users.length).toBeLessThanOrEqual(2);
      seen.push(...(body.users as { name: string }[]).map(({ name }) => name));
      cursor = body.next_cursor as string | null;
    }
    expect(seen).toEqual([...new Set(seen)].toSorted());
    expect(seen).toEqual(expect.arrayContaining(["owner", "page-a", "page-b", "page-c"]));
  });
});

describe("API keys", () => {
  test("are created and revoked by their user, and a revoked one opens nothing any more", async () => {
    const user = as((await addUser(gateway, "grace")).apiKey);
    const made = await user("POST", "/api/users/me/api-keys", { name: "laptop" });
    expect(made).toMatchObject({ status: 201, body: { name: "laptop" } });
    const laptop = as(made.body.key as string);
    expect(await laptop("GET", "/api/users/me")).toMatchObject({ status: 200, body: { name: "grace" } });

    const list = await laptop("GET", "/api/users/grace/api-keys");
    expect(list.body.api_keys).toMatchObject([
      { id: made.body.id, name: "laptop", revoked_at: null },
      { name: "test", revoked_at: null },
    ]);
    expect(JSON.stringify(list.body)).not.toContain("cyx_");

    const path = `/api/users/me/api-keys/${made.body.id}`;
    expect(await user("DELETE", path)).toMatchObject({ status: 204 });
    expect(await laptop("GET", "/api/users/me")).toMatchObject({
      status: 401,
      body: { code: "unauthenticated" },
    });
    expect(await user("DELETE", path)).toMatchObject({ status: 204 });
    const after = await user("GET", "/api/users/me/api-keys");
    expect(after.body.api_keys[0]).toMatchObject({ id: made.body.id, revoked_at: expect.any(String) });
  });

  test("of others are out of reach, whether these exist or not; administrators manage anyone's", async () => {
    const { apiKey } = await addUser(gateway, "victim");
    const mallory = as((await addUser(gateway, "mallory")).apiKey);
    const keys = await as(apiKey)("GET", "/api/users/me/api-keys");
    const id = keys.body.api_keys[0].id as string;
    for (const name of ["victim", "nobody"]) {
      for (const answer of [
        await mallory("GET", `/api/users/${name}/api-keys`),
        await mallory("POST", `/api/users/${name}/api-keys`, { name: "mine" }),
        await mallory("DELETE", `/api/users/${name}/api-keys/${id}`),
      ]) {
        expect(answer).toMatchObject({ status: 403, body: { code: "permission_denied", field: "user" } });
      }
    }
    expect(await mallory("DELETE", `/api/users/me/api-keys/${id}`)).toMatchObject({ status: 404 });
    expect(await mallory("DELETE", "/api/users/me/api-keys/none")).toMatchObject({ status: 404 });
    expect(await as(apiKey)("GET", "/api/users/me")).toMatchObject({ status: 200 });

    expect(await client.json("GET", "/api/users/nobody/api-keys")).toMatchObject({ status: 404 });
    expect(await client.json("DELETE", `/api/users/victim/api-keys/${id}`)).toMatchObject({ status: 204 });
    expect(await as(apiKey)("GET", "/api/users/me")).toMatchObject({ status: 401 });
  });

  test("are limited in number and name, and paged", async () => {
    const { userId, apiKey } = await addUser(gateway, "collector");
    await gateway.database.sql.query({
      text: `INSERT INTO api_keys (user_id, name, key_hash)
             SELECT $1, 'n' || n, sha256(n::text::bytea) FROM generate_series(3, $2::int) n`,
      values: [userId, API_KEYS_MAX_PER_USER],
    });
    const user = as(apiKey);
    expect(await user("POST", "/api/users/me/api-keys", { name: "last" })).toMatchObject({ status: 201 });
    expect(await user("POST", "/api/users/me/api-keys", { name: "over" })).toMatchObject({
      status: 409,
      body: { code: "failed_precondition", limit: API_KEYS_MAX_PER_USER },
    });
    for (const name of ["", "x".repeat(129), "new\nline"])
      expect(await user("POST", "/api/users/me/api-keys", { name })).toMatchObject({
        status: 400,
        body: { field: "name" },
      });
    const ids = new Set<string>();
    for (let cursor: string | null = ""; cursor !== null;) {
      const more: string = cursor === "" ? "" : `&cursor=${cursor}`;
      const { body }: JsonAnswer = await user("GET", `/api/users/me/api-keys?limit=33${more}`);
      for (const { id } of body.api_keys as { id: string }[]) ids.add(id);
      cursor = body.next_cursor as string | null;
    }
    expect(ids.size).toBe(API_KEYS_MAX_PER_USER);
    expect(await user("GET", "/api/users/me/api-keys?cursor=bm90aGluZw")).toMatchObject({
      status: 400,
      body: { field: "cursor" },
    });
  });
});

test("the command creates users and keys, lists and revokes them", async () => {
  const main = join(import.meta.dirname, "..", "..", "cli", "main.ts");
  const cyxcloud = (
    apiKey: string,
    ...arguments_: string[]
  ): Promise<{ code: number; out: string; err: string }> =>
    new Promise((resolve) => {
      const env = {
        PATH: process.env["PATH"] ?? "",
        HOME: tmpdir(),
        CYXCLOUD_GATEWAY: gateway.url,
        CYXCLOUD_API_KEY: apiKey,
      };
      execFile(
        process.execPath,
        [main, ...arguments_],
        { env, cwd: tmpdir(), encoding: "utf8" },
        (error, out, err) => resolve({ code: error === null ? 0 : Number(error.code), out, err }),
      );
    });
  const { apiKey } = gateway.owner;
  const created = await cyxcloud(apiKey, "user", "create", "linus");
  expect(created).toMatchObject({ code: 0, err: "" });
  expect(created.out).toMatch(
    /^User created: linus\n {2}Role: owner\n {2}API key \(shown once\): cyx_\S{43}\n$/,
  );
  const first = /cyx_\S+/.exec(created.out)?.[0] as string;
  expect((await cyxcloud(first, "whoami")).out).toMatch(/^linus\n {2}Role: owner\n {2}Id: [0-9a-f-]{36}\n$/);
  expect((await cyxcloud(apiKey, "user", "list")).out).toMatch(/^linus +owner +20/m);
  const made = JSON.parse((await cyxcloud(first, "api-key", "create", "ci", "--json")).out) as Record<
    string,
    string
  >;
  expect((await cyxcloud(first, "api-key", "list")).out).toContain(`${made["id"]}  ci`);
  expect(await cyxcloud(first, "api-key", "revoke", made["id"] as string)).toMatchObject({
    code: 0,
    out: `Revoked: ${made["id"]}\n`,
  });
  expect((await cyxcloud(made["key"] as string, "whoami")).err).toMatch(/^error: Send a valid API key/);
  expect((await cyxcloud(first, "user", "create", "x")).err).toMatch(/^error: .*administrator/);
});

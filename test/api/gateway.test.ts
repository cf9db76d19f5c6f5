import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Validator } from "@seriousme/openapi-schema-validator";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type DocumentedClient, documentedClient } from "./documented.ts";

let gateway: TestGateway;
let client: DocumentedClient;
beforeAll(async () => {
  gateway = await startGateway();
  client = await documentedClient(gateway);
});
afterAll(() => gateway.stop());

describe("the OpenAPI document", () => {
  test("is valid OpenAPI 3.1", async () => {
    const result = await new Validator().validate(structuredClone({ ...client.document }));
    expect(result.errors ?? []).toEqual([]);
    expect(result.valid).toBe(true);
    expect(client.document.openapi).toBe("3.1.0");
  });

  test("gives every operation a summary, a success and its failures", () => {
    const operations = Object.entries(client.document.paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, operation]) => ({ name: `${method} ${path}`, path, ...operation })),
    );
    for (const { name, path, responses, ...operation } of operations) {
      expect(operation, name).toHaveProperty("summary");
      const statuses = Object.keys(responses).map(Number);
      expect(
        statuses.some((status) => status < 300),
        name,
      ).toBe(true);
      const failures = [
        ...(path.startsWith("/api/") ? [429, 500, 503] : []),
        ...("security" in operation ? [401] : []),
      ];
      expect(statuses, name).toEqual(expect.arrayContaining(failures));
    }
  });
});

describe("the reference page", () => {
  test("shows every operation and schema, runs nothing and asks no other host", async () => {
    const page = await fetch(new URL("/docs", gateway.url));
    expect(page.status).toBe(200);
    expect(page.headers.get("content-type")).toMatch(/^text\/html/);
    expect(page.headers.get("content-security-policy")).not.toContain("script-src");
    const text = await page.text();
    const { paths, components } = client.document as unknown as {
      paths: Record<string, Record<string, { summary: string }>>;
      components: { schemas: Record<string, unknown> };
    };
    for (const [path, item] of Object.entries(paths)) {
      for (const method of Object.keys(item)) expect(text).toContain(`id="${method}-${path}"`);
    }
    for (const name of Object.keys(components.schemas)) expect(text).toContain(`id="schema-${name}"`);
    expect(text).not.toMatch(/<script|https?:\/\/|undefined|\[object /);
    const links = [...text.matchAll(/(?:href|src)="([^#"][^"]*)"/g)].map(([, link]) => `${link}`);
    expect(new Set(links)).toEqual(new Set(["/docs/style.css", "/openapi.json"]));
    const anchors = [...text.matchAll(/href="#([^"]+)"/g)].map(([, anchor]) =>
      decodeURIComponent(anchor as string),
    );
    for (const anchor of anchors) expect(text).toContain(`id="${anchor}"`);
    const style = await fetch(new URL("/docs/style.css", gateway.url));
    expect(style.headers.get("content-type")).toMatch(/^text\/css/);
  });
});

describe("every answer", () => {
  test("carries an id and headers that keep it from being stored, guessed, framed or run", async () => {
    for (const path of ["/healthz", "/api/buckets", "/nothing", "/api/nothing"]) {
      const { headers } = await client.request(path);
      expect(headers.get("x-request-id"), path).toMatch(/^[0-9a-f-]{36}$/);
      expect(headers.get("cache-control"), path).toMatch(/^(private|no-store)/);
      expect(headers.get("x-content-type-options"), path).toBe("nosniff");
      expect(headers.get("content-security-policy"), path).toContain("default-src 'none'");
      expect(headers.get("content-type"), path).toMatch(/^application\/(problem\+)?json/);
    }
  });

  test("is a problem where nothing is, and names the methods where something is", async () => {
    expect(await client.json("GET", "/nothing")).toMatchObject({ status: 404, body: { code: "not_found" } });
    const wrong = await client.json("POST", "/api/buckets", {});
    expect(wrong).toMatchObject({ status: 405, body: { status: 405, code: "invalid_argument" } });
    expect(wrong.headers.get("allow")).toBe("GET, HEAD");
  });
});

describe("an API key", () => {
  const answer = async (authorization?: string): Promise<unknown> => {
    const headers = authorization === undefined ? {} : { authorization };
    const response = await fetch(new URL("/api/buckets", gateway.url), { headers });
    const { request_id: _, ...problem } = (await response.json()) as Record<string, unknown>;
    return { status: response.status, challenge: response.headers.get("www-authenticate"), problem };
  };

  test("that is absent, malformed, unknown or revoked is answered alike", async () => {
    const revoked = `cyx_${"r".repeat(43)}`;
    const { sql } = gateway.database;
    const keyHash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(revoked)));
    await sql.query({
      text: "INSERT INTO api_keys (user_id, name, key_hash, revoked_at) VALUES ($1, 'old', $2, now())",
      values: [gateway.owner.userId, keyHash],
    });
    const absent = await answer();
    expect(absent).toMatchObject({
      status: 401,
      challenge: 'Bearer realm="cyxcloud"',
      problem: { code: "unauthenticated" },
    });
    const wrong = [
      `Bearer ${revoked}`,
      `Bearer cyx_${"a".repeat(43)}`,
      "Bearer cyx_short",
      "Bearer ",
      "Basic b3duZXI6eA==",
      gateway.owner.apiKey,
      `Bearer ${gateway.owner.apiKey} `.slice(0, -2),
      `Bearer ${"x".repeat(4000)}`,
    ];
    for (const authorization of wrong) expect(await answer(authorization), authorization).toEqual(absent);
  });

  test("lets its user in, whatever the case of the scheme", async () => {
    expect(await answer(`bearer ${gateway.owner.apiKey}`)).toMatchObject({ status: 200 });
  });
});

describe("buckets", () => {
  test("are created once, and again only with the same geometry", async () => {
    const geometry = { chunk_bytes: 16_384, data_shards: 3, parity_shards: 2 };
    const created = await client.json("PUT", "/api/buckets/photos", geometry);
    expect(created).toMatchObject({ status: 201, body: { name: "photos", ...geometry } });
    expect(await client.json("PUT", "/api/buckets/photos", geometry)).toMatchObject({ status: 200 });
    expect(await client.json("PUT", "/api/buckets/photos")).toMatchObject({ status: 200, body: geometry });
    expect(await client.json("PUT", "/api/buckets/photos", { parity_shards: 1 })).toMatchObject({
      status: 409,
      body: { code: "failed_precondition", field: "parity_shards", existing: 2 },
    });
    const list = await client.json("GET", "/api/buckets");
    expect(list.body.buckets).toContainEqual({ name: "photos", ...geometry });
  });

  test("default to 4+2 and 16 MiB", async () => {
    expect(await client.json("PUT", "/api/buckets/plain")).toMatchObject({
      status: 201,
      body: { chunk_bytes: 16 * 1024 * 1024, data_shards: 4, parity_shards: 2 },
    });
  });

  test.for([
    [{ chunk_bytes: 1000 }, "chunk_bytes", 4096],
    [{ chunk_bytes: 2 ** 25 }, "chunk_bytes", 2 ** 24],
    [{ chunk_bytes: 12_288 }, "chunk_bytes", undefined],
    [{ data_shards: 0 }, "data_shards", 1],
    [{ data_shards: 5, parity_shards: 2 }, "data_shards", 6],
    [{ parity_shards: 5 }, "parity_shards", 4],
    [{ data_shards: "four" }, "data_shards", undefined],
    [{ chunk_size: 4096 }, "chunk_size", undefined],
  ] as const)("refuse %j by field and limit", async ([body, field, limit]) => {
    const answer = await client.json("PUT", "/api/buckets/refused", body);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field } });
    expect(answer.body.detail).toContain(field);
    expect(answer.body.limit).toBe(limit);
  });

  test.for(["ab", "Upper", ".hidden", "-dash", "a_b", "x".repeat(64), "%00abc", "a%2fb"])(
    "refuse the name %s",
    async (name) => {
      const answer = await client.json("PUT", `/api/buckets/${name}`, {});
      expect(answer).toMatchObject({ status: 400, body: { code: "invalid_argument", field: "bucket" } });
    },
  );
});

describe("JSON bodies", () => {
  const put = (body: BodyInit, headers: HeadersInit): Promise<Response> =>
    client.request("/api/buckets/bodies", { method: "PUT", body, headers });
  const json = { "content-type": "application/json" };

  test("that are not JSON, or say they are something else, are refused", async () => {
    const malformed = await put("{", json);
    expect(malformed.status).toBe(400);
    expect(await malformed.json()).toMatchObject({ code: "invalid_argument", field: "body" });
    const text = await put("{}", { "content-type": "text/plain" });
    expect(text.status).toBe(415);
    expect(await text.json()).toMatchObject({ field: "Content-Type" });
  });

  test("over the limit are refused, with or without a declared length", async () => {
    const large = JSON.stringify({ padding: "x".repeat(1024 * 1024) });
    const declared = await put(large, json);
    expect(declared.status).toBe(413);
    expect(await declared.json()).toMatchObject({
      code: "invalid_argument",
      field: "body",
      limit: 1024 * 1024,
    });
    const streamed = await client.request("/api/buckets/bodies", {
      method: "PUT",
      headers: json,
      body: new Blob([large]).stream(),
      duplex: "half",
    } as RequestInit);
    expect(streamed.status).toBe(413);
  });
});

/** Input that is well-formed JSON and still nonsense: refused by name, never an internal error. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
  await send("PUT", "/api/buckets/data", {});
});
afterAll(() => gateway.stop());

interface Answer {
  readonly status: number;
  readonly body: { readonly code: string; readonly field: string };
}

async function send(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await gateway.request(path, {
    method,
    ...(body !== undefined && {
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
    }),
  });
  return { status: response.status, body: (await response.json()) as Answer["body"] };
}

const DATASET = { name: "x", files: ["data/**"], schema: { type: "bytes", format: "bin" } };
const cursorOf = (place: string): string => Buffer.from(place).toString("base64url");
const UUID = "9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90";

test.each<[string, string, string, unknown, string]>([
  ["a NUL in a search", "GET", "/api/datasets?search=a%00b", undefined, "search"],
  ["a NUL in a description", "POST", "/api/datasets", { ...DATASET, description: "a\0b" }, "description"],
  [
    "half a character in a description",
    "POST",
    "/api/datasets",
    { ...DATASET, description: "\ud800" },
    "description",
  ],
  ["a NUL in a glob", "POST", "/api/datasets", { ...DATASET, files: ["data/a\0"] }, "files[0]"],
  [
    "a NUL in a schema",
    "POST",
    "/api/datasets",
    { ...DATASET, schema: { ...DATASET.schema, note: ["a\0b"] } },
    "schema",
  ],
  [
    "a NUL in a key of a schema",
    "POST",
    "/api/datasets",
    { ...DATASET, schema: { ...DATASET.schema, "a\0": 1 } },
    "schema",
  ],
  [
    "half a character in a schema",
    "POST",
    "/api/datasets",
    { ...DATASET, schema: { ...DATASET.schema, note: "\ud800" } },
    "schema",
  ],
  [
    "a NUL in a class",
    "POST",
    "/api/datasets",
    { ...DATASET, schema: { ...DATASET.schema, labels: "path", classes: ["a\0"] } },
    "schema",
  ],
  [
    "a place of jobs past all time",
    "GET",
    `/api/jobs?cursor=${cursorOf(`9000000000000000/${UUID}`)}`,
    undefined,
    "cursor",
  ],
  [
    "a place of jobs before all time",
    "GET",
    `/api/jobs?cursor=${cursorOf(`-9000000000000000/${UUID}`)}`,
    undefined,
    "cursor",
  ],
  ["too many data shards", "PUT", "/api/buckets/wide", { data_shards: 22, parity_shards: 4 }, "data_shards"],
  ["a NUL in a key", "POST", "/api/uploads", { bucket: "data", kind: "object", key: "a\0" }, "key"],
  ["a NUL in a prefix", "POST", "/api/uploads", { bucket: "data", kind: "tar", prefix: "a\0" }, "prefix"],
  ["a NUL in a prefix of a list", "GET", "/api/objects?bucket=data&prefix=%00", undefined, "prefix"],
  [
    "a cursor of datasets with a NUL",
    "GET",
    `/api/datasets?cursor=${cursorOf("a/b\0")}`,
    undefined,
    "cursor",
  ],
])("%s", async (_, method, path, input, field) => {
  const { status, body } = await send(method, path, input);
  expect(body).toMatchObject({ code: "invalid_argument" });
  expect(body.field.startsWith(field)).toBe(true);
  expect(status).toBe(400);
});

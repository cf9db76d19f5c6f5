/** Input that does not fit its schema is refused in sentences of our own, on every operation. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { documentedClient, type DocumentedClient } from "./documented.ts";

let gateway: TestGateway;
let api: DocumentedClient;
beforeAll(async () => {
  gateway = await startGateway();
  api = await documentedClient(gateway);
});
afterAll(() => gateway.stop());

test.each<[string, string, unknown, object]>([
  [
    "GET",
    "/api/datasets?limit=5000",
    undefined,
    { detail: "limit: must be at most 1000.", field: "limit", limit: 1000, in: "query" },
  ],
  [
    "POST",
    "/api/auth/sign-in",
    { email: "ada@example.com", password: "short" },
    { detail: "password: must have at least 10 characters.", field: "password", limit: 10, in: "body" },
  ],
  [
    "POST",
    "/api/auth/sign-in",
    { email: "ada", password: "a long enough password" },
    { detail: "email: must be an e-mail address such as ada@example.com.", field: "email" },
  ],
  ["POST", "/api/users", {}, { detail: "name: is missing. Send text.", field: "name" }],
  [
    "POST",
    "/api/users",
    { name: "ada", rule: "admin" },
    { detail: "rule: is no known field. Leave it out, or correct its name.", field: "rule" },
  ],
  [
    "POST",
    "/api/datasets",
    { name: "a", files: ["a/**"], schema: { type: "imge", format: "png" } },
    { field: "schema.type", detail: expect.stringMatching(/^schema\.type: must be one of "image", .*\.$/) },
  ],
])("%s %s %j", async (method, path, body, expected) => {
  expect(await api.json(method, path, body)).toMatchObject({ status: 400, body: expected });
});

const VALIDATOR =
  /\b(expected|received|too (big|small)|invalid (input|string|option|number)|unrecognized)\b/i;
const NONSENSE = [undefined, {}, [], "x", null, { a: 1 }, { name: 5 }, { name: "" }];

test("no operation refuses in the validator's words", async () => {
  const refused = new Set<string>();
  const document = api.document as unknown as {
    paths: Record<
      string,
      Record<string, { parameters?: { in: string; name: string }[]; requestBody?: object }>
    >;
  };
  for (const [template, item] of Object.entries(document.paths)) {
    const path = template.replaceAll(/\{[^}]+\}/g, "~");
    for (const [method, { parameters = [], requestBody }] of Object.entries(item)) {
      const inQuery = parameters.filter((each) => each.in === "query");
      const requests = requestBody === undefined ? [] : NONSENSE.map((body) => [path, body] as const);
      const queries = [...inQuery.map(({ name }) => name), "nonsense"].flatMap((name) =>
        ["", "x", "-1", "1e9"].map((value) => [`${path}?${name}=${value}`, undefined] as const),
      );
      for (const [target, body] of [...requests, ...queries]) {
        const response = await gateway.request(target, {
          method: method.toUpperCase(),
          ...(body !== undefined && {
            headers: { "content-type": "application/json" },
            body: JSON.stringify(body),
          }),
        });
        const text = await response.text();
        if (response.status !== 400) continue;
        const { detail, field } = JSON.parse(text) as { detail: string; field?: string };
        expect(detail, `${method} ${target} ${JSON.stringify(body)}`).not.toMatch(VALIDATOR);
        expect(detail).toMatch(/\.$/);
        if (field !== undefined) refused.add(`${method} ${template} ${field}`);
      }
    }
  }
  expect(refused.size).toBeGreaterThan(60);
});

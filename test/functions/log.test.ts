import { describe, expect, test } from "vitest";
import { DataStreamError } from "../../core/errors.ts";
import { createLog, errorFields, type LogFields } from "../../functions/log.ts";

const API_KEY = `cyx_${"k".repeat(43)}`;
const JWT = `eyJhbGciOiJFZDI1NTE5In0.eyJzdWIiOiJ4In0.${"s".repeat(86)}`;
const SECRETS = [API_KEY, JWT, "hunter2", "d-of-the-jwk"];

function written(event: string, fields: LogFields): { line: string; parsed: Record<string, unknown> } {
  const lines: string[] = [];
  createLog((_, line) => lines.push(line)).info(event, fields);
  const line = lines.join("\n");
  return { line, parsed: JSON.parse(line) as Record<string, unknown> };
}

test("a line is one JSON object with level, event and fields", () => {
  const lines: [string, unknown][] = [];
  const log = createLog((level, line) => lines.push([level, JSON.parse(line)])).with({ request_id: "r" });
  log.with({ user_id: "u" }).warn("slow\nevent", { ms: 12, nodes: ["a", "b"], none: undefined });
  expect(lines).toEqual([
    [
      "warn",
      { level: "warn", event: "slow\nevent", request_id: "r", user_id: "u", ms: 12, nodes: ["a", "b"] },
    ],
  ]);
});

describe("a secret never gets into a line", () => {
  test.for<[string, LogFields]>([
    ["an API key in a text", { path: `/api/${API_KEY}/x` }],
    ["an API key in a list", { causes: [`first`, `key ${API_KEY}.`] }],
    ["a token in a text", { message: `token ${JWT} was refused` }],
    ["credentials of a header", { message: "authorization: Bearer hunter2, more" }],
    ["the password of a URL", { message: "cannot reach postgresql://app:hunter2@db.example:5432/x" }],
    ["a private JWK", { message: '{"kty":"OKP","d":"d-of-the-jwk"}' }],
    ["a field named token", { access_token: "hunter2" }],
    ["a field named authorization", { authorization: "hunter2" }],
    ["a field named like a binding", { DATABASE_URL: "hunter2", SIGNING_KEYS: "hunter2" }],
  ])("%s", ([, fields]) => {
    const { line } = written("event", fields);
    for (const secret of SECRETS) expect(line).not.toContain(secret);
    expect(line).toContain("[redacted]");
  });

  test("also as the event, in what `with` adds, and in the cause of an error", () => {
    const lines: string[] = [];
    const cause = new Error(`SELECT '${API_KEY}'`, { cause: new Error(`Bearer ${JWT}`) });
    createLog((_, line) => lines.push(line))
      .with({ note: API_KEY })
      .error(`event ${JWT}`, errorFields(new DataStreamError("internal", "It failed.", { cause })));
    for (const secret of SECRETS) expect(lines.join()).not.toContain(secret);
  });
});

test("an error's line has its code, its fault and every cause", () => {
  const cause = new TypeError("inner", { cause: "innermost" });
  const fields = errorFields(new DataStreamError("data_loss", "Chunk lost.", { cause }));
  expect(fields).toMatchObject({ code: "data_loss", fault: "data", message: "Chunk lost." });
  expect(fields.causes).toHaveLength(2);
});

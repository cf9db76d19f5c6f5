/** `/openapi.json`: OpenAPI 3.1 made from the routes themselves, and `/docs`: the same for people. */
import { IDEMPOTENCY_KEY_MAX_CHARS } from "../../core/limits.ts";
import type { Api } from "./app.ts";
import { IDEMPOTENCY_HEADER } from "./idempotency.ts";
import { SESSION_COOKIE } from "../sign-in/sessions.ts";
import { PROBLEM_TYPE } from "./problem.ts";
import { type ReferenceDocument, referencePage, STYLE } from "./reference-page.ts";

const INFO = {
  title: "CyxCloud DataStream",
  version: "0.1.0",
  license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  description:
    "Uploads, objects, datasets, tokens, jobs and storage of one gateway. JSON is snake_case, hashes are lowercase " +
    "hexadecimal, times ISO 8601. Every failure is `application/problem+json` (RFC 9457) and names the field, its " +
    "limit and what to do. Batches are streamed by cyxcloud.datastream.DataStreamService over Connect or gRPC-Web, " +
    "which proto/datastream.proto describes.",
};

/** Call it after every other route. */
export function registerDocumentation(api: Api): void {
  api.openAPIRegistry.registerComponent("securitySchemes", "api_key", {
    type: "http",
    scheme: "bearer",
    description: "An API key, `cyx_…`: acts as its user.",
  });
  api.openAPIRegistry.registerComponent("securitySchemes", "session", {
    type: "apiKey",
    in: "cookie",
    name: SESSION_COOKIE,
    description:
      "A session that `POST /api/auth/sign-in` began: acts as its user, from pages of this gateway.",
  });
  api.openAPIRegistry.registerComponent("securitySchemes", "access_token", {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "An access token of one dataset version: reads or streams that version alone.",
  });
  let document: Document | undefined;
  api.get("/openapi.json", (c) => {
    document ??= describe(api);
    return c.json(document, 200, { "cache-control": CACHE });
  });
  api.get("/docs", (c) => {
    document ??= describe(api);
    return c.html(referencePage(document as unknown as ReferenceDocument), 200, { "cache-control": CACHE });
  });
  api.get("/docs/style.css", (c) =>
    c.body(STYLE, 200, { "content-type": "text/css; charset=utf-8", "cache-control": CACHE }),
  );
}

const CACHE = "public, max-age=300";

type Document = ReturnType<Api["getOpenAPI31Document"]>;

/** What the routes declare, and what surrounds them. */
function describe(api: Api): Document {
  const document = api.getOpenAPI31Document({ openapi: "3.1.0", info: INFO, servers: [{ url: "/" }] });
  for (const { get, put, post, delete: remove } of Object.values(document.paths ?? {})) {
    for (const operation of [get, put, post, remove]) {
      if (!operation?.security?.some((each) => "api_key" in each)) continue;
      operation.security = [...operation.security, { session: [] }];
      // A session that is used from a page of another site.
      if (operation !== get) operation.responses = { 403: FORBIDDEN, ...operation.responses };
    }
    if (post?.security === undefined) continue;
    post.parameters = [...(post.parameters ?? []), IDEMPOTENCY_PARAMETER];
    post.responses = { ...IDEMPOTENCY_ANSWERS, ...post.responses };
  }
  return document;
}

const IDEMPOTENCY_PARAMETER = {
  name: IDEMPOTENCY_HEADER,
  in: "header",
  required: false,
  description:
    "The request takes effect once; for a day, every further try with the same key and body gets the first answer, " +
    "with `Idempotency-Replayed: true`. Another body is refused with 422, a try while the first still runs with 409.",
  schema: { type: "string", pattern: "^[!-~]+$", maxLength: IDEMPOTENCY_KEY_MAX_CHARS },
} as const;

const PROBLEM_CONTENT = { [PROBLEM_TYPE]: { schema: { $ref: "#/components/schemas/Problem" } } };
const FORBIDDEN = { description: "Permission denied", content: PROBLEM_CONTENT };
const IDEMPOTENCY_ANSWERS = {
  400: { description: "Bad request", content: PROBLEM_CONTENT },
  409: { description: "Conflict", content: PROBLEM_CONTENT },
  422: { description: "Unprocessable content", content: PROBLEM_CONTENT },
};

/** A client that holds every answer against the gateway's own OpenAPI document: path, status, media type, schema. */
import addFormats from "ajv-formats";
import { Ajv2020 } from "ajv/dist/2020.js";
import type { TestGateway } from "../support/gateway.ts";

interface Operation {
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, unknown>> }>>;
}

export interface OpenApiDocument {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

export interface DocumentedClient {
  readonly document: OpenApiDocument;
  /** As `gateway.request`, but an answer that the document does not describe is an error. */
  request(path: string, init?: RequestInit): Promise<Response>;
  /** The same with a JSON body and a parsed answer. */
  json(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<JsonAnswer>;
}

export interface JsonAnswer {
  readonly status: number;
  readonly headers: Headers;
  // oxlint-disable-next-line no-explicit-any -- tests look into answers of every shape
  readonly body: any;
}

const PROBLEM = "application/problem+json";

export async function documentedClient(gateway: TestGateway): Promise<DocumentedClient> {
  const answer = await fetch(new URL("/openapi.json", gateway.url));
  const document = (await answer.json()) as OpenApiDocument;
  const check = checkerOf(document);
  const request = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const response = await gateway.request(path, init);
    await check(init.method ?? "GET", new URL(path, gateway.url).pathname, response.clone());
    return response;
  };
  return {
    document,
    request,
    async json(method, path, body, headers = {}) {
      const response = await request(path, {
        method,
        headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      return {
        status: response.status,
        headers: response.headers,
        body: text === "" ? undefined : JSON.parse(text),
      };
    },
  };
}

type Check = (method: string, path: string, response: Response) => Promise<void>;

function checkerOf(document: OpenApiDocument): Check {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  addFormats.default(ajv);
  ajv.addSchema({ ...document, $id: "openapi.json" });
  const templates = Object.keys(document.paths).map((template) => ({
    template,
    pattern: patternOf(template),
  }));

  return async (method, path, response) => {
    const fail = (why: string): never => {
      throw new Error(`${method} ${path} answered ${response.status}: ${why}`);
    };
    // HEAD is answered by the GET route unless it is documented itself.
    const found = templates.filter(({ pattern }) => pattern.test(path)).map(({ template }) => template);
    const names = method === "HEAD" ? ["head", "get"] : [method.toLowerCase()];
    const template = found.find((each) => names.some((name) => document.paths[each]?.[name]));
    if (template === undefined) {
      // Only what is nowhere may be undocumented.
      return response.status === 404 || response.status === 405
        ? undefined
        : fail("no such path is documented.");
    }
    const name = names.find((each) => document.paths[template]?.[each]) as string;
    const described = document.paths[template]?.[name]?.responses[response.status];
    if (described === undefined) return fail(`the status is not documented for ${name} ${template}.`);
    if (method === "HEAD" || described.content === undefined) return undefined;

    const type = (response.headers.get("content-type") ?? "").split(";")[0] as string;
    if (!(type in described.content)) return fail(`the type "${type}" is not documented.`);
    if (type !== "application/json" && type !== PROBLEM) return undefined;
    const pointer = ["paths", template, name, "responses", `${response.status}`, "content", type, "schema"];
    const $ref = `openapi.json#/${pointer.map(escapePointer).join("/")}`;
    const validate = ajv.getSchema($ref) ?? ajv.compile({ $ref });
    if (!validate(await response.json())) return fail(ajv.errorsText(validate.errors));
    return undefined;
  };
}

/** A parameter is one segment; an object's key is the rest of the path. */
function patternOf(template: string): RegExp {
  const escaped = template.replaceAll(/[.*+?^$()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${escaped.replaceAll("{key}", ".+").replaceAll(/\{[^}]+\}/g, "[^/]+")}$`);
}

function escapePointer(part: string): string {
  return encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"));
}

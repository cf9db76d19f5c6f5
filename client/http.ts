import { DataStreamError, invalidArgument, type ErrorCode, type ErrorDetails } from "../core/errors.ts";
import type { KeyPair } from "../core/trust/ed25519.ts";
import { createProof } from "./proof.ts";
import {
  canceled,
  DEFAULT_RETRY,
  RETRY_AFTER_DETAIL,
  retryAfterSeconds,
  retrying,
  type RetryPolicy,
} from "./backoff.ts";

/** How the client reaches a gateway. */
export interface GatewayOptions {
  /** Base URL, for example `https://data.example.com`. */
  readonly gateway: string;
  /** Identifies a user; needed for everything but reading and streaming with a token. */
  readonly apiKey?: string;
  /** Access token of one dataset version, for training nodes. */
  readonly accessToken?: string;
  /** Key of the training node that access tokens are bound to: their requests then carry a proof of it, and it signs acknowledgements. */
  readonly nodeKey?: KeyPair;
  /** Replaces the platform's fetch, for tests and proxies. */
  readonly fetch?: typeof fetch;
  readonly retry?: RetryPolicy;
}

export interface CallOptions {
  readonly body?: BodyInit;
  readonly json?: unknown;
  readonly headers?: Record<string, string>;
  /** Goes along in place of the client's own credential. */
  readonly accessToken?: string;
  /** Proves this key along with the API key, as registering a training node needs. */
  readonly proofKey?: KeyPair;
  readonly signal?: AbortSignal | undefined;
  /**
   * Whether making the call twice does no harm by itself. Defaults to true for all but POST; one that is not goes with
   * an `Idempotency-Key`, under which the gateway lets it take effect once.
   */
  readonly idempotent?: boolean;
}

/** docs: `/openapi.json`, where every POST names it. */
const IDEMPOTENCY_HEADER = "Idempotency-Key";

const CODE_OF_STATUS: Record<number, ErrorCode> = {
  400: "invalid_argument",
  401: "unauthenticated",
  403: "permission_denied",
  404: "not_found",
  409: "failed_precondition",
  411: "invalid_argument",
  413: "invalid_argument",
  416: "invalid_argument",
  429: "resource_exhausted",
  502: "unavailable",
  503: "unavailable",
  504: "unavailable",
};

const CODES: ReadonlySet<string> = new Set<ErrorCode>([
  "invalid_argument",
  "unauthenticated",
  "permission_denied",
  "not_found",
  "already_exists",
  "failed_precondition",
  "aborted",
  "resource_exhausted",
  "data_loss",
  "unavailable",
  "canceled",
  "internal",
]);

/** An error code that came over the wire, or undefined where it is none of ours. */
export function knownCode(code: unknown): ErrorCode | undefined {
  return typeof code === "string" && CODES.has(code) ? (code as ErrorCode) : undefined;
}

/** The HTTP side of the client: credentials, retries, problems to errors. */
export class Gateway {
  /** Base URL; every route is below it. */
  readonly url: URL;
  /** The base URL as text, without a slash at its end. */
  readonly base: string;
  readonly retry: RetryPolicy;
  readonly #apiKey: string | undefined;
  readonly #accessToken: string | undefined;
  readonly #nodeKey: KeyPair | undefined;
  readonly #fetch: typeof fetch;

  constructor(options: GatewayOptions) {
    this.base = options.gateway.replace(/\/+$/, "");
    this.url = parseUrl(this.base);
    this.retry = options.retry ?? DEFAULT_RETRY;
    this.#apiKey = options.apiKey;
    this.#accessToken = options.accessToken;
    this.#nodeKey = options.nodeKey;
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  get accessToken(): string | undefined {
    return this.#accessToken;
  }

  get nodeKey(): KeyPair | undefined {
    return this.#nodeKey;
  }

  /**
   * One request; resolves on any 2xx answer.
   * @throws DataStreamError with the code and message of the answered problem; `unavailable`
   *   when the gateway cannot be reached.
   */
  async send(method: string, route: string, options: CallOptions = {}): Promise<Response> {
    const headers: Record<string, string> = { ...options.headers };
    Object.assign(headers, await this.#credentials(method, route, options));
    const init: RequestInit = { method, headers, redirect: "error" };
    if (options.json !== undefined) {
      headers["content-type"] = "application/json";
      init.body = JSON.stringify(options.json);
    } else if (options.body !== undefined) {
      headers["content-type"] ??= "application/octet-stream";
      init.body = options.body;
    }
    if (options.signal !== undefined) init.signal = options.signal;
    let response: Response;
    try {
      response = await this.#fetch(this.base + route, init);
    } catch (cause) {
      if (options.signal?.aborted === true)
        throw new DataStreamError("canceled", "The caller cancelled.", { cause });
      throw new DataStreamError("unavailable", `The gateway at ${this.base} cannot be reached.`, { cause });
    }
    if (response.ok) return response;
    throw withRetryAfter(await problemToError(response), response.headers.get("retry-after"));
  }

  /**
   * The headers that prove to the gateway who asks: of one request, because a proof of the node's key is good for one.
   * @param route below `url`, with its leading slash.
   */
  authorize(method: string, route: string, accessToken: string): Promise<Record<string, string>> {
    return this.#credentials(method, route, { accessToken });
  }

  async #credentials(method: string, route: string, options: CallOptions): Promise<Record<string, string>> {
    const token = options.accessToken ?? (this.#apiKey === undefined ? this.#accessToken : undefined);
    const credential = token ?? this.#apiKey;
    if (credential === undefined) return {};
    const key = token === undefined ? options.proofKey : this.#nodeKey;
    if (key === undefined) return { authorization: `Bearer ${credential}` };
    return {
      // An unbound token is refused as DPoP, so that a node may use either.
      authorization: `${token !== undefined && isBound(token) ? "DPoP" : "Bearer"} ${credential}`,
      dpop: await createProof(key, { method, url: this.base + route, credential }),
    };
  }

  /** Like `send`, made again after passing failures. What must not happen twice takes effect once: see `idempotent`. */
  call(method: string, route: string, options: CallOptions = {}): Promise<Response> {
    return this.#made(method, options, (each) => this.send(method, route, each));
  }

  /** The answer's JSON body, of the shape that the OpenAPI description gives for the route. */
  json<T>(method: string, route: string, options: CallOptions = {}): Promise<T> {
    return this.#made(method, options, async (each) =>
      whole(await this.send(method, route, each), (body) => body.json() as Promise<T>, options.signal),
    );
  }

  /** The answer's body as it came. */
  bytes(method: string, route: string, options: CallOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return this.#made(method, options, async (each) => {
      const response = await this.send(method, route, each);
      return new Uint8Array(await whole(response, (body) => body.arrayBuffer(), options.signal));
    });
  }

  #made<T>(method: string, options: CallOptions, attempt: (options: CallOptions) => Promise<T>): Promise<T> {
    if (options.idempotent ?? method !== "POST")
      return retrying(() => attempt(options), this.retry, options.signal);
    const headers = { ...options.headers, [IDEMPOTENCY_HEADER]: crypto.randomUUID() };
    const once = (): Promise<T> => attempt({ ...options, headers }).catch(asUnfinished);
    return retrying(once, this.retry, options.signal);
  }
}

/** @throws DataStreamError `invalid_argument` */
function parseUrl(gateway: string): URL {
  if (URL.canParse(gateway)) return new URL(gateway);
  throw invalidArgument("gateway", `must be a URL such as https://data.example.com, not ${gateway}.`);
}

/** A try whose first one still runs is a passing failure. @throws DataStreamError */
function asUnfinished(thrown: unknown): never {
  const error = DataStreamError.from(thrown);
  if (error.code !== "aborted" || error.details["field"] !== IDEMPOTENCY_HEADER) throw error;
  throw new DataStreamError("unavailable", error.message, { details: error.details, cause: error });
}

/** @throws DataStreamError `unavailable` when the body breaks off. */
async function whole<T>(
  response: Response,
  read: (response: Response) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  try {
    return await read(response);
  } catch (cause) {
    if (signal?.aborted === true) throw canceled();
    throw new DataStreamError("unavailable", "The gateway's answer broke off, or cannot be read.", { cause });
  }
}

/** Whether a token names a key that its holder has to prove (DPoP), not a certificate. It is only read here: the gateway verifies it. */
function isBound(token: string): boolean {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const { cnf } = JSON.parse(atob(payload)) as { readonly cnf?: { readonly jkt?: unknown } };
    return cnf?.jkt !== undefined;
  } catch {
    return false;
  }
}

async function problemToError(response: Response): Promise<DataStreamError> {
  return problemError(response.status, await response.text().catch(() => ""));
}

/**
 * The error that an answer other than 2xx stands for: of a problem document (RFC 9457), of a Connect error
 * (https://connectrpc.com/docs/protocol/#error-end-stream), or of its status alone.
 */
export function problemError(status: number, body: string): DataStreamError {
  let problem: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed === "object" && parsed !== null) problem = parsed as Record<string, unknown>;
  } catch {
    // Not a problem document: something between the client and the gateway answered.
  }
  const code = knownCode(problem["code"]) ?? CODE_OF_STATUS[status] ?? "internal";
  const detail =
    text(problem["detail"]) ??
    text(problem["title"]) ??
    text(problem["message"]) ??
    `The gateway answered ${status}.`;
  const details: ErrorDetails = {};
  for (const [name, value] of Object.entries(problem)) {
    if (["type", "title", "detail", "message", "code", "status"].includes(name)) continue;
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean")
      details[name] = value;
  }
  return new DataStreamError(code, detail, { details });
}

/** The same error, with the time that the gateway asks to wait among its details. */
function withRetryAfter(error: DataStreamError, header: string | null): DataStreamError {
  const seconds = retryAfterSeconds(header);
  if (seconds === undefined) return error;
  return new DataStreamError(error.code, error.message, {
    details: { ...error.details, [RETRY_AFTER_DETAIL]: seconds },
  });
}

/** The value where it is text. */
export function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** Joins path segments, each percent-encoded. */
export function path(...segments: readonly (string | number)[]): string {
  return `/${segments.map((segment) => encodeURIComponent(String(segment))).join("/")}`;
}

/** A query string from the defined values, or nothing. */
export function query(values: Record<string, string | number | undefined>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(values))
    if (value !== undefined) parameters.set(name, String(value));
  return parameters.size === 0 ? "" : `?${parameters.toString()}`;
}

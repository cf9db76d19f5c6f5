/** The one mapping of errors to HTTP: problem details for HTTP APIs (RFC 9457). */
import { HTTPException } from "hono/http-exception";
import { z } from "@hono/zod-openapi";
import { challengeOf } from "../challenge.ts";
import { DataStreamError, type ErrorCode, type ErrorDetails } from "../../core/errors.ts";

export const PROBLEM_TYPE: string = "application/problem+json";

const STATUS: Readonly<Record<ErrorCode, ProblemStatus>> = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  already_exists: 409,
  failed_precondition: 409,
  aborted: 409,
  resource_exhausted: 429,
  data_loss: 503,
  unavailable: 503,
  canceled: 499,
  internal: 500,
};

/** Every status that a problem can have, with its title. */
const TITLES = {
  400: "Bad request",
  401: "Unauthenticated",
  403: "Permission denied",
  404: "Not found",
  405: "Method not allowed",
  409: "Conflict",
  411: "Length required",
  413: "Content too large",
  415: "Unsupported media type",
  416: "Range not satisfiable",
  422: "Unprocessable content",
  429: "Too many requests",
  499: "Client closed request",
  500: "Internal error",
  503: "Service unavailable",
} as const;

export type ProblemStatus = keyof typeof TITLES;

/** An error whose HTTP status says more than its code does, for example 413 for `invalid_argument`. */
export class HttpError extends DataStreamError {
  readonly status: ProblemStatus;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: ProblemStatus,
    code: ErrorCode,
    message: string,
    options: { details?: ErrorDetails; headers?: Record<string, string> } = {},
  ) {
    super(code, message, options);
    this.status = status;
    this.headers = options.headers ?? {};
  }
}

/** Particulars of the error (`field`, `limit`, …) stand beside the members named here. */
export const ProblemSchema: z.ZodType = z
  .looseObject({
    type: z.string().openapi({ example: "urn:cyxcloud:problem:invalid_argument" }),
    title: z.string(),
    status: z.int(),
    detail: z.string().openapi({ description: "What is wrong, its limit and what to do." }),
    code: z.enum(Object.keys(STATUS) as [ErrorCode, ...ErrorCode[]]),
    request_id: z.string().openapi({ description: "Quote it when you report a failure." }),
    field: z.string().optional(),
    limit: z.union([z.number(), z.string()]).optional(),
  })
  .openapi("Problem", {
    example: {
      type: "urn:cyxcloud:problem:invalid_argument",
      title: "Bad request",
      status: 400,
      detail: "limit: must be at most 1000.",
      code: "invalid_argument",
      field: "limit",
      limit: 1000,
      request_id: "0d3c1f6e-2a43-4d3f-9a5e-6a8b0a0a4f11",
    },
  });

interface ProblemAnswer {
  readonly description: string;
  readonly content: { readonly "application/problem+json": { readonly schema: z.ZodType } };
}

// oxlint-disable-next-line typescript/no-empty-object-type -- see `problems`
type Nothing = {};

/**
 * Problem answers for a route's `responses`; 429, 500 and 503 come along. Handlers throw problems and never
 * return them, so for the compiler the result is empty and does not widen a handler's answers.
 */
export function problems(...statuses: ProblemStatus[]): Nothing {
  const every = [...new Set<ProblemStatus>([...statuses, 429, 500, 503])];
  return Object.fromEntries(every.map((status) => [status, problemAnswer(status)]));
}

function problemAnswer(status: ProblemStatus): ProblemAnswer {
  return { description: TITLES[status], content: { "application/problem+json": { schema: ProblemSchema } } };
}

/** @param thrown anything; what is no `DataStreamError` becomes `internal`, and its cause stays here. */
export function problemResponse(thrown: unknown, requestId: string): Response {
  const error = normalise(thrown);
  const status = error instanceof HttpError ? error.status : STATUS[error.code];
  const body = {
    ...error.details,
    type: `urn:cyxcloud:problem:${error.code}`,
    title: TITLES[status],
    status,
    detail: error.message,
    code: error.code,
    request_id: requestId,
  };
  return new Response(JSON.stringify(body), {
    status,
    headers: {
      "content-type": PROBLEM_TYPE,
      "cache-control": "no-store",
      ...(status === 401 && { "www-authenticate": challengeOf(error) }),
      ...(error.retryable && { "retry-after": "1" }),
      ...(error instanceof HttpError && error.headers),
    },
  });
}

/** Also understands what the web framework throws itself: a malformed body, a wrong media type. */
export function normalise(thrown: unknown): DataStreamError {
  if (!(thrown instanceof HTTPException)) return DataStreamError.from(thrown);
  if (thrown.status === 415) {
    return new HttpError(415, "invalid_argument", "Content-Type: send application/json.", {
      details: { field: "Content-Type" },
    });
  }
  return new DataStreamError("invalid_argument", "The request body is not valid JSON.", {
    details: { field: "body" },
    cause: thrown,
  });
}

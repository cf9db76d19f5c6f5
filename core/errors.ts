/**
 * The one error type of the product.
 *
 * Codes are a closed set and carry the names of the Connect and gRPC status
 * codes (https://connectrpc.com/docs/protocol/#error-codes). Each surface maps
 * a code once: `functions/api/problem.ts` to HTTP, `functions/datastream/` to
 * Connect, `client/` back from either.
 */
export type ErrorCode =
  | "invalid_argument"
  | "unauthenticated"
  | "permission_denied"
  | "not_found"
  | "already_exists"
  | "failed_precondition"
  | "aborted"
  | "resource_exhausted"
  | "data_loss"
  | "unavailable"
  | "canceled"
  | "internal";

/** Who has to act: decides whether an error is answered, alerted on, or both. */
export type Fault = "caller" | "system" | "data";

const FAULTS: Record<ErrorCode, Fault> = {
  invalid_argument: "caller",
  unauthenticated: "caller",
  permission_denied: "caller",
  not_found: "caller",
  already_exists: "caller",
  failed_precondition: "caller",
  aborted: "caller",
  resource_exhausted: "system",
  data_loss: "data",
  unavailable: "system",
  canceled: "caller",
  internal: "system",
};

/** Machine-readable particulars of an error; values never hold secrets. */
export type ErrorDetails = Record<string, string | number | boolean | readonly string[]>;

export class DataStreamError extends Error {
  override readonly name = "DataStreamError";
  readonly code: ErrorCode;
  /** For example `{ field: "batch_size", limit: 65536 }`. Shown to the caller. */
  readonly details: ErrorDetails;

  /**
   * @param message shown to the caller: names the field, the limit and what to do.
   * @param options.cause kept for logs only; no surface ever sends it.
   */
  constructor(code: ErrorCode, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }

  get fault(): Fault {
    return FAULTS[this.code];
  }

  /** Whether the same call may succeed when made again unchanged. */
  get retryable(): boolean {
    return this.code === "unavailable" || this.code === "resource_exhausted";
  }

  /**
   * Normalises anything thrown. A foreign error becomes `internal` with a
   * neutral message, so that no cause leaks to a caller by accident.
   */
  static from(thrown: unknown): DataStreamError {
    if (thrown instanceof DataStreamError) return thrown;
    return new DataStreamError(
      "internal",
      "The service failed unexpectedly. Try again; if it persists, tell the operator.",
      {
        cause: thrown,
      },
    );
  }
}

/** Shorthand for the most common error: a field that is out of its limits. */
export function invalidArgument(field: string, message: string, details: ErrorDetails = {}): DataStreamError {
  return new DataStreamError("invalid_argument", `${field}: ${message}`, { details: { field, ...details } });
}

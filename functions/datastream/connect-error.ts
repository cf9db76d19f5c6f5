/** The one mapping of errors to Connect, from which Connect's own code makes those of gRPC-Web. */
import { Code, ConnectError } from "@connectrpc/connect";
import { challengeOf } from "../challenge.ts";
import { DataStreamError, type ErrorCode } from "../../core/errors.ts";

const CODES: Readonly<Record<ErrorCode, Code>> = {
  invalid_argument: Code.InvalidArgument,
  unauthenticated: Code.Unauthenticated,
  permission_denied: Code.PermissionDenied,
  not_found: Code.NotFound,
  already_exists: Code.AlreadyExists,
  failed_precondition: Code.FailedPrecondition,
  aborted: Code.Aborted,
  resource_exhausted: Code.ResourceExhausted,
  data_loss: Code.DataLoss,
  unavailable: Code.Unavailable,
  canceled: Code.Canceled,
  internal: Code.Internal,
};

/** What the caller is told of anything thrown: code, message and how to authenticate, never the cause. */
export function toConnectError(thrown: unknown): ConnectError {
  if (thrown instanceof ConnectError) return thrown;
  const error = DataStreamError.from(thrown);
  const metadata = error.code === "unauthenticated" ? { "www-authenticate": challengeOf(error) } : undefined;
  return new ConnectError(error.message, CODES[error.code], metadata);
}

/** What an answer to a caller who is not authenticated asks for: `WWW-Authenticate` (RFC 6750, RFC 9449 section 7.1). */
import { DataStreamError, type ErrorDetails } from "../core/errors.ts";

export type Scheme = "bearer" | "dpop";

/** Codes that RFC 6750 and RFC 9449 register; absent where no credential was understood. */
export type ChallengeError = "invalid_token" | "invalid_dpop_proof";

/** `unauthenticated`, and how to authenticate. */
export class AuthenticationError extends DataStreamError {
  readonly challenge: string;

  constructor(
    message: string,
    {
      scheme,
      error,
      details,
    }: { readonly scheme: Scheme; readonly error: ChallengeError; readonly details: ErrorDetails },
  ) {
    super("unauthenticated", message, { details });
    this.challenge =
      scheme === "dpop"
        ? `DPoP ${REALM}, error="${error}", algs="Ed25519"`
        : `Bearer ${REALM}, error="${error}"`;
  }
}

const REALM = 'realm="cyxcloud"';

/** The value for any failure that says `unauthenticated`. */
export function challengeOf(error: DataStreamError): string {
  return error instanceof AuthenticationError ? error.challenge : `Bearer ${REALM}`;
}

/** What comes with an access token and may prove that its holder is the training node that it is bound to. */
import type { Scheme } from "./challenge.ts";
import { clientCertificate } from "./client-certificate.ts";

/** The part of a request that a proof is held against. */
export interface IncomingRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  /** What the platform says of the connection. */
  readonly cf?: unknown;
}

export interface Presentation {
  readonly method: string;
  readonly url: string;
  /** Of the `Authorization` header; undefined where the token came in the message itself. */
  readonly scheme: Scheme | undefined;
  /** The `DPoP` header (RFC 9449). */
  readonly proof: string | undefined;
  /** SHA-256 of the client certificate that the platform verified (RFC 8705). */
  readonly certificate: Uint8Array | undefined;
}

/** @param inMessage whether the token came in the message and not in the `Authorization` header. */
export function presentationOf(request: IncomingRequest, inMessage: boolean): Presentation {
  const { method, url, headers, cf } = request;
  const isProven = /^DPoP /i.test(headers.get("authorization") ?? "");
  return {
    method,
    url,
    scheme: inMessage ? undefined : isProven ? "dpop" : "bearer",
    proof: headers.get("dpop") ?? undefined,
    certificate: clientCertificate(cf),
  };
}

/**
 * The client certificate of a connection, as Cloudflare tells it
 * (https://developers.cloudflare.com/workers/runtime-apis/request/#incomingrequestcfproperties). Only the platform
 * fills `request.cf`; no header says anything here, since a client can send every header.
 */
import { fromHex } from "../core/bytes.ts";

/**
 * SHA-256 of the certificate's DER form. Undefined without one, and for one that was not verified or is revoked:
 * `certVerified` alone says SUCCESS for revoked certificates too.
 */
export function clientCertificate(cf: unknown): Uint8Array | undefined {
  const tls = (cf as { readonly tlsClientAuth?: unknown } | null | undefined)?.tlsClientAuth;
  if (typeof tls !== "object" || tls === null) return undefined;
  const { certPresented, certVerified, certRevoked, certFingerprintSHA256 } = tls as Partial<
    Record<string, unknown>
  >;
  if (certPresented !== "1" || certVerified !== "SUCCESS" || certRevoked !== "0") return undefined;
  return typeof certFingerprintSHA256 === "string" && /^[0-9a-f]{64}$/i.test(certFingerprintSHA256)
    ? fromHex(certFingerprintSHA256.toLowerCase())
    : undefined;
}

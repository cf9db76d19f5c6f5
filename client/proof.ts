/** Proofs that requests come from the holder of a training node's key: DPoP (RFC 9449) with Ed25519. */
import { toBase64 } from "../core/base64.ts";
import { utf8 } from "../core/text.ts";
import { type KeyPair, sign } from "../core/trust/ed25519.ts";

/**
 * The value of a `DPoP` header for one request; the gateway takes each once, for about a minute.
 * @param url the whole address; query and fragment do not count.
 * @param credential the access token, or where a node is registered the API key, that goes with it.
 */
export async function createProof(
  key: KeyPair,
  { method, url, credential }: { readonly method: string; readonly url: string; readonly credential: string },
): Promise<string> {
  const { origin, pathname } = new URL(url);
  const jwk = { kty: "OKP", crv: "Ed25519", x: base64url(key.publicKey) };
  const claims = {
    htm: method,
    htu: origin + pathname,
    iat: Math.floor(Date.now() / 1000),
    jti: crypto.randomUUID(),
    ath: base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(credential)))),
  };
  const message = `${json({ typ: "dpop+jwt", alg: "Ed25519", jwk })}.${json(claims)}`;
  return `${message}.${base64url(sign(utf8(message), key))}`;
}

function json(value: unknown): string {
  return base64url(utf8(JSON.stringify(value)));
}

function base64url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

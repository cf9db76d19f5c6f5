/** Client certificates, for access tokens that are bound to one (RFC 8705). */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { invalidArgument } from "../core/errors.ts";

/**
 * A fetch over connections that prove this certificate.
 * @param certificateFile PEM; what was issued to this machine, and the authorities between.
 * @param keyFile PEM, without a passphrase.
 * @throws `invalid_argument` naming the option whose file does not serve.
 */
export function certificateFetch(certificateFile: string, keyFile: string): typeof fetch {
  const cert = readFileSync(certificateFile, "utf8");
  const key = readFileSync(keyFile, "utf8");
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(cert);
  } catch {
    throw invalidArgument("client-certificate", `${certificateFile} is no certificate in PEM.`);
  }
  let belongs: boolean;
  try {
    belongs = certificate.checkPrivateKey(createPrivateKey(key));
  } catch {
    // The parser's own message may quote the key.
    throw invalidArgument("client-key", `${keyFile} is no private key in PEM without a passphrase.`);
  }
  if (!belongs)
    throw invalidArgument(
      "client-key",
      `${keyFile} is not the key of the certificate in ${certificateFile}.`,
    );
  // Loaded where it is needed, and once: it has connections to keep.
  const loading = import("undici").then(({ Agent, fetch: send }) => {
    const dispatcher = new Agent({ connect: { cert, key } });
    return (input: string, init: RequestInit): Promise<unknown> =>
      send(input, { ...(init as Parameters<typeof send>[1]), dispatcher });
  });
  return async (input, init) => {
    const send = await loading;
    return (await send(input instanceof Request ? input.url : String(input), init ?? {})) as Response;
  };
}

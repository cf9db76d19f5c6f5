import { Agent, request } from "node:https";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";

/** PEM: authorities to trust in place of the system's, and the certificate of this node with its key. */
export interface GatewayTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/**
 * A fetch that shows a client certificate, which the platform's cannot. For what the client asks of gateways: bodies are
 * texts or bytes, redirects are errors, and http goes to the platform's fetch.
 */
export function certifiedFetch(tls: GatewayTls): typeof fetch {
  const agent = new Agent({ ...tls, keepAlive: true });
  return (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    if (url.protocol !== "https:") return fetch(input, init);
    return new Promise<Response>((resolve, reject) => {
      const { method = "GET", headers, body, signal } = init ?? {};
      const outgoing = request(url, {
        method,
        agent,
        headers: Object.fromEntries(new Headers(headers)),
        ...(signal && { signal }),
      });
      outgoing.on("response", (answer) => {
        const { statusCode: status = 502, headers: answered } = answer;
        if (status >= 300 && status < 400) {
          answer.destroy();
          reject(new TypeError(`The answer is a redirect (${status}).`));
          return;
        }
        const isEmpty = status === 204 || status === 304;
        if (isEmpty) answer.resume();
        resolve(
          new Response(isEmpty ? null : (Readable.toWeb(answer) as NodeReadableStream<Uint8Array> as never), {
            status,
            headers: Object.entries(answered).map(([name, value]): [string, string] => [name, String(value)]),
          }),
        );
      });
      outgoing.on("error", reject);
      outgoing.end(body as string | Uint8Array | undefined);
    });
  };
}

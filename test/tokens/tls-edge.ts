/**
 * What stands before the gateway in production, as far as client certificates go: it ends TLS, looks at the
 * certificate that the client proved, and tells the Worker of it in `request.cf`, beside the headers.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, request as httpsRequest } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import type { TLSSocket } from "node:tls";
import type { Gateway } from "../../scripts/stack/gateway.ts";
import { type Certificate, createCertificate } from "../../scripts/certificates.ts";

export interface TlsEdge {
  readonly url: string;
  /** Signs the certificates that are verified. */
  readonly authority: Certificate;
  /** DER of certificates that were revoked. */
  readonly revoked: Set<Certificate>;
  request(
    method: string,
    path: string,
    options: {
      readonly certificate?: Certificate | undefined;
      readonly headers: Readonly<Record<string, string>>;
      readonly json?: unknown;
    },
  ): Promise<{ readonly status: number; readonly body: Record<string, unknown> }>;
  stop(): void;
}

export async function startTlsEdge(gateway: Gateway): Promise<TlsEdge> {
  const authority = createCertificate("authority");
  const revoked = new Set<Certificate>();
  const identity = createCertificate("edge", authority);
  const forward = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await buffer(request);
    const answer = await gateway.dispatch(`https://gateway.example${request.url ?? "/"}`, {
      method: request.method ?? "GET",
      headers: request.headers as Record<string, string>,
      ...(body.byteLength > 0 && { body }),
      cf: { tlsClientAuth: clientAuth(request.socket as TLSSocket, revoked) },
    });
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    if (answer.body === null) response.end();
    else await pipeline(Readable.fromWeb(answer.body as NodeReadableStream), response);
  };
  const server = createServer(
    { ...identity.pem, ca: authority.pem.cert, requestCert: true, rejectUnauthorized: false },
    (request, response) => void forward(request, response).catch(() => response.destroy()),
  ).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;

  return {
    url: `https://127.0.0.1:${port}`,
    authority,
    revoked,
    async request(method, path, { certificate, headers, json }) {
      const sent = httpsRequest({
        host: "127.0.0.1",
        port,
        method,
        path,
        ca: authority.pem.cert,
        ...certificate?.pem,
        headers: { ...headers, ...(json !== undefined && { "content-type": "application/json" }) },
        agent: false,
      });
      sent.end(json === undefined ? undefined : JSON.stringify(json));
      const [answer] = (await once(sent, "response")) as [IncomingMessage];
      const body = await text(answer);
      return {
        status: answer.statusCode ?? 0,
        body: body === "" ? {} : (JSON.parse(body) as Record<string, unknown>),
      };
    },
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** https://developers.cloudflare.com/workers/runtime-apis/request/#incomingrequestcfproperties */
function clientAuth(socket: TLSSocket, revoked: ReadonlySet<Certificate>): Record<string, string> {
  const { raw } = socket.getPeerCertificate() as { raw?: Buffer };
  const fingerprint = raw === undefined ? "" : createHash("sha256").update(raw).digest("hex");
  return {
    certPresented: raw === undefined ? "0" : "1",
    certVerified:
      raw === undefined
        ? "NONE"
        : socket.authorized
          ? "SUCCESS"
          : `FAILED:${String(socket.authorizationError)}`,
    certRevoked: [...revoked].some((each) => raw?.equals(each.raw) === true) ? "1" : "0",
    certFingerprintSHA256: fingerprint,
  };
}

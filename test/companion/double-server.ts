/** The gateway double of the client's tests behind a real port, for what speaks HTTP by itself. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import type { GatewayDouble } from "../client/double.ts";

export interface DoubleServer {
  readonly url: string;
  stop(): Promise<void>;
}

export async function serveDouble(double: GatewayDouble): Promise<DoubleServer> {
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await buffer(request);
    const isJson = request.headers["content-type"] === "application/json";
    const answered = await double.fetch(`http://double${request.url ?? "/"}`, {
      ...(request.method !== "GET" && {
        method: "POST",
        body: isJson ? body.toString() : new Uint8Array(body),
      }),
    });
    response.writeHead(answered.status, Object.fromEntries(answered.headers));
    if (answered.body === null) response.end();
    else await pipeline(Readable.fromWeb(answered.body as NodeReadableStream), response);
  };
  const server = createServer((request, response) => {
    // A broken stream is what some tests ask for.
    answer(request, response).catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

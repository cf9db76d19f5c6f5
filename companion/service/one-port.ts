/**
 * HTTP/1.1 and HTTP/2 on one port without negotiation: what a connection begins with tells which it is. Stock gRPC
 * clients speak HTTP/2 at once ("prior knowledge"), everybody else HTTP/1.1.
 */
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { listenPrivately } from "../handoff/private-socket.ts";

export type PortRequest = IncomingMessage | Http2ServerRequest;
export type PortResponse = ServerResponse | Http2ServerResponse;

export interface OnePortOptions {
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string };
  /** PEM; without it connections are plain. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly handle: (request: PortRequest, response: PortResponse) => void;
}

/** RFC 9113, section 3.4. */
const HTTP2_PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** A connection is closed that says nothing for so long before its first request is whole. */
const SILENCE_MS = 20_000;

export class OnePort {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws the system's error, for example of code EADDRINUSE; DataStreamError for a Unix socket. */
  static async listen({ address, tls, handle }: OnePortOptions): Promise<OnePort> {
    const http1 = createHttpServer(handle);
    const http2 = createHttp2Server(handle);
    // A client that breaks off or speaks nonsense is its own problem.
    http2.on("sessionError", () => undefined);
    // Once a request is there, its answer may take as long as it likes.
    http1.on("request", ({ socket }) => socket.setTimeout(0));
    const server =
      tls === undefined ? createServer() : createTlsServer({ ...tls, ALPNProtocols: ["h2", "http/1.1"] });
    const port = new OnePort(server);
    server.on(tls === undefined ? "connection" : "secureConnection", (socket: Socket) => {
      port.#sockets.add(socket);
      socket.on("close", () => port.#sockets.delete(socket));
      socket.on("error", () => undefined);
      sniff(socket, (isHttp2) => {
        (isHttp2 ? http2 : http1).emit("connection", socket);
        if (!isHttp2) socket.setTimeout(SILENCE_MS);
      });
    });
    if ("path" in address) await listenPrivately(server, address.path, "listen");
    else {
      server.listen({ ...address });
      await once(server, "listening");
    }
    return port;
  }

  /** Port number, or path of a Unix socket. */
  get address(): number | string {
    const address = this.#server.address() as AddressInfo | string;
    return typeof address === "string" ? address : address.port;
  }

  stopAccepting(): void {
    this.#server.close();
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

/** Reads as much as tells the protocols apart, and puts it back. */
function sniff(socket: Socket, decided: (isHttp2: boolean) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  socket.setTimeout(SILENCE_MS, () => socket.destroy());
  const onData = (piece: Buffer): void => {
    seen = Buffer.concat([seen, piece]);
    const length = Math.min(seen.length, HTTP2_PREFACE.length);
    const isPreface = seen.compare(HTTP2_PREFACE, 0, length, 0, length) === 0;
    if (isPreface && length < HTTP2_PREFACE.length) return;
    socket.off("data", onData);
    socket.setTimeout(0);
    socket.removeAllListeners("timeout");
    socket.pause();
    socket.unshift(seen);
    decided(isPreface);
    // The server may have installed its own reader by now; it begins with what was put back.
    process.nextTick(() => socket.resume());
  };
  socket.on("data", onData);
}

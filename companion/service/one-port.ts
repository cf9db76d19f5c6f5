/**
 * HTTP/1.1 and HTTP/2 on one port without negotiation: what a connection begins with tells which it is. Stock gRPC
 * clients speak HTTP/2 at once ("prior knowledge"), everybody else HTTP/1.1.
 */
import { once } from "node:events";
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from "node:http";
import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { PORT_HEAD_MS, PORT_KEEP_ALIVE_MS, PORT_REQUEST_MS } from "../../core/limits.ts";
import { listenPrivately } from "../handoff/private-socket.ts";

export type PortRequest = IncomingMessage | Http2ServerRequest;
export type PortResponse = ServerResponse | Http2ServerResponse;

/** In milliseconds: how long a client may take. */
export interface PortPatience {
  /** For what tells the protocols apart, TLS included, and for the head of each HTTP/1.1 request. */
  readonly headMs: number;
  /** For a whole HTTP/1.1 request. At least `headMs`. */
  readonly requestMs: number;
  /** Between two of them. */
  readonly keepAliveMs: number;
}

export interface OnePortOptions {
  readonly address: { readonly host: string; readonly port: number } | { readonly path: string };
  /** PEM; without it connections are plain. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly handle: (request: PortRequest, response: PortResponse) => void;
  readonly patience?: PortPatience;
}

/** RFC 9113, section 3.4. */
const HTTP2_PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const PATIENCE: PortPatience = {
  headMs: PORT_HEAD_MS,
  requestMs: PORT_REQUEST_MS,
  keepAliveMs: PORT_KEEP_ALIVE_MS,
};

export class OnePort {
  readonly #server: Server;
  readonly #http1: HttpServer;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, http1: HttpServer) {
    this.#server = server;
    this.#http1 = http1;
  }

  /** @throws the system's error, for example of code EADDRINUSE; DataStreamError for a Unix socket. */
  static async listen({ address, tls, handle, patience = PATIENCE }: OnePortOptions): Promise<OnePort> {
    const { headMs } = patience;
    const http1 = http1Server(handle, patience);
    const http2 = createHttp2Server(handle);
    // A client that breaks off or speaks nonsense is its own problem.
    http2.on("sessionError", () => undefined);
    const server =
      tls === undefined
        ? createServer()
        : createTlsServer({ ...tls, ALPNProtocols: ["h2", "http/1.1"], handshakeTimeout: headMs });
    const port = new OnePort(server, http1);
    server.on("connection", (socket: Socket) => port.#keep(socket));
    // A handshake that takes too long is told and otherwise left as it is.
    server.on("tlsClientError", (_error: Error, socket: Socket) => socket.destroy());
    server.on(tls === undefined ? "connection" : "secureConnection", (socket: Socket) => {
      port.#keep(socket);
      sniff(socket, headMs, (isHttp2) => (isHttp2 ? http2 : http1).emit("connection", socket));
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

  #keep(socket: Socket): void {
    if (this.#sockets.has(socket)) return;
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", () => undefined);
  }

  /** Ends every connection. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const socket of this.#sockets) socket.destroy();
    this.#http1.close();
    await closed;
  }
}

/** A server of connections that another one accepted. */
function http1Server(
  handle: OnePortOptions["handle"],
  { headMs, requestMs, keepAliveMs }: PortPatience,
): HttpServer {
  const server = createHttpServer(
    {
      headersTimeout: headMs,
      requestTimeout: requestMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: headMs / 4,
    },
    handle,
  );
  // It looks for requests that do not become whole from when it listens, which this one never does.
  server.emit("listening");
  return server;
}

/** Reads as much as tells the protocols apart, and puts it back. */
function sniff(socket: Socket, limitMs: number, decided: (isHttp2: boolean) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const late = setTimeout(() => socket.destroy(), limitMs);
  socket.once("close", () => clearTimeout(late));
  const onData = (piece: Buffer): void => {
    seen = Buffer.concat([seen, piece]);
    const length = Math.min(seen.length, HTTP2_PREFACE.length);
    const isPreface = seen.compare(HTTP2_PREFACE, 0, length, 0, length) === 0;
    if (isPreface && length < HTTP2_PREFACE.length) return;
    socket.off("data", onData);
    clearTimeout(late);
    socket.pause();
    socket.unshift(seen);
    decided(isPreface);
    // The server may have installed its own reader by now; it begins with what was put back.
    process.nextTick(() => socket.resume());
  };
  socket.on("data", onData);
}

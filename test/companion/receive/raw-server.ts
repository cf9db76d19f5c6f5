/** A server that plays what a test tells it, below HTTP. */
import { once } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";

export interface RawServer {
  readonly url: string;
  /** Heads of the requests that came, with their bodies' lengths. */
  readonly requests: string[];
  /** Resolves when every connection is closed. */
  readonly closed: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

/** @param play is called once a whole request came. */
export async function startRawServer(
  play: (socket: Socket, request: string) => void | Promise<void>,
  tls?: TlsOptions,
): Promise<RawServer> {
  const sockets = new Set<Socket>();
  const requests: string[] = [];
  const onConnection = (socket: Socket): void => {
    sockets.add(socket);
    let received = "";
    socket.on("data", (piece) => {
      received += piece.toString("latin1");
      const [head, body] = received.split("\r\n\r\n", 2) as [string, string | undefined];
      const length = Number(/content-length: (\d+)/.exec(head)?.[1]);
      if (body === undefined || received.length < head.length + 4 + length) return;
      requests.push(head);
      received = "";
      void play(socket, head);
    });
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  };
  const server: Server = tls === undefined ? createServer(onConnection) : createTlsServer(tls, onConnection);
  server.on("tlsClientError", () => undefined);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `${tls === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    requests,
    async closed() {
      await Promise.all(
        [...sockets].map((socket) => new Promise<void>((resolve) => socket.once("close", () => resolve()))),
      );
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** A plain HTTP storage node: what HttpShardStore expects of any server, in its least form. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";

export interface HttpNode {
  readonly url: string;
  readonly shards: Map<string, Buffer>;
  /** Answers every request with this status while it is set. */
  failWith: number | undefined;
  /** TCP connections accepted so far. */
  connections: number;
  stop(): Promise<void>;
}

export async function startHttpNode(): Promise<HttpNode> {
  const shards = new Map<string, Buffer>();
  const server = createServer((request, response) => void answer(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const node: HttpNode = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/shards`,
    shards,
    failWith: undefined,
    connections: 0,
    async stop() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };

  server.on("connection", () => node.connections++);

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const key = decodeURIComponent((request.url ?? "").replace(/^\/shards\//, ""));
    const shard = shards.get(key);
    if (node.failWith !== undefined) return void response.writeHead(node.failWith).end();
    if (request.method === "PUT") {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      if (shard !== undefined && request.headers["if-none-match"] === "*")
        return void response.writeHead(412).end();
      shards.set(key, Buffer.concat(parts));
      return void response.writeHead(201).end();
    }
    if (shard === undefined) return void response.writeHead(404).end();
    if (request.method === "DELETE") {
      shards.delete(key);
      return void response.writeHead(204).end();
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    // A range that is all of it gets the plain answer, as from some servers.
    const isWhole = range !== null && range[1] === "0" && Number(range[2]) === shard.length - 1;
    if (range === null || isWhole) {
      return void response
        .writeHead(200, { "content-length": shard.length })
        .end(request.method === "HEAD" ? undefined : shard);
    }
    const [first, last] = [Number(range[1]), Math.min(Number(range[2]), shard.length - 1)];
    if (first >= shard.length) return void response.writeHead(416).end();
    response.writeHead(206, {
      "content-length": last - first + 1,
      "content-range": `bytes ${first}-${last}/${shard.length}`,
      "content-type": "application/octet-stream",
    });
    response.end(shard.subarray(first, last + 1));
  }
  return node;
}

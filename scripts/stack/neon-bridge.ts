/**
 * The part of Neon's proxy that `@neondatabase/serverless` talks to, in front of one local PostgreSQL:
 * `POST /sql` for single queries and non-interactive transactions, `WS /v2` as a pipe to the server.
 *
 * Never an open proxy: it listens on 127.0.0.1, connects to the configured server only, and refuses
 * browsers (any request with an `Origin`). Who asks must still know the database's password.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import pg from "pg";
import { createWebSocketStream, WebSocketServer } from "ws";
import { freePort, LOOPBACK } from "./ports.ts";

/** Neon's limit on a request and on a response over HTTP. */
const MESSAGE_MAX_BYTES = 64 * 1024 * 1024;
const POOL_CONNECTIONS = 10;
/** What PostgreSQL says about an error, by the names that the driver copies. */
const ERROR_FIELDS = [
  "severity",
  "code",
  "detail",
  "hint",
  "position",
  "internalPosition",
  "internalQuery",
  "where",
  "schema",
  "table",
  "column",
  "dataType",
  "constraint",
  "file",
  "line",
  "routine",
] as const;
const ISOLATION_LEVELS: Readonly<Record<string, string>> = {
  ReadUncommitted: "read uncommitted",
  ReadCommitted: "read committed",
  RepeatableRead: "repeatable read",
  Serializable: "serializable",
};

export interface BridgeOptions {
  /** The one PostgreSQL server behind the bridge, on 127.0.0.1. */
  readonly databasePort: number;
  /** 0, the default, takes a free one. */
  readonly port?: number;
  readonly portOption?: string;
}

export interface Bridge {
  readonly url: string;
  readonly port: number;
  /** Closes the pooled connections of one database, so that it can be dropped or copied. */
  release(databaseUrl: string): Promise<void>;
  stop(): Promise<void>;
}

interface Query {
  readonly query: string;
  readonly params?: unknown[];
}

/** An answer other than 200. */
class Refusal extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export async function startNeonBridge(options: BridgeOptions): Promise<Bridge> {
  const pools = new Map<string, pg.Pool>();
  const poolOf = (databaseUrl: string): pg.Pool => {
    let pool = pools.get(databaseUrl);
    if (!pool) {
      pool = new pg.Pool({ connectionString: databaseUrl, max: POOL_CONNECTIONS });
      // A connection that the server ends while idle; the next query opens another.
      pool.on("error", () => {});
      pools.set(databaseUrl, pool);
    }
    return pool;
  };

  const server = createServer((request, response) => {
    answerSql(request, options.databasePort, poolOf)
      .then((body) => send(response, 200, body))
      .catch((error: unknown) => sendError(response, error));
  });
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_MAX_BYTES });
  server.on("upgrade", (request, socket, head) => {
    pipe(request, socket, head, sockets, options.databasePort);
  });

  const port = await freePort(options.port ?? 0, options.portOption ?? "--bridge-port");
  server.listen(port, LOOPBACK);
  await once(server, "listening");
  return {
    port,
    url: `http://${LOOPBACK}:${port}`,
    async release(databaseUrl) {
      const pool = pools.get(databaseUrl);
      pools.delete(databaseUrl);
      await pool?.end();
    },
    async stop() {
      for (const socket of sockets.clients) socket.terminate();
      await close(server);
      await Promise.all([...pools.values()].map((pool) => pool.end()));
    },
  };
}

async function answerSql(
  request: IncomingMessage,
  databasePort: number,
  poolOf: (databaseUrl: string) => pg.Pool,
): Promise<string> {
  if (request.headers.origin !== undefined) throw new Refusal(403, "Browsers may not use the bridge.");
  if (request.method !== "POST" || request.url !== "/sql")
    throw new Refusal(404, "The bridge answers POST /sql.");
  const header = (name: string): string | undefined => request.headers[name]?.toString();

  const databaseUrl = header("neon-connection-string") ?? "";
  requireLocal(databaseUrl, databasePort);
  const pool = poolOf(databaseUrl);
  const shape: Shape = {
    array: header("neon-array-mode") === "true",
    rawText: header("neon-raw-text-output") === "true",
  };

  const body = parseBody(await readBody(request));
  const answer =
    "queries" in body
      ? { results: await transaction(pool, body.queries, beginStatement(header), shape) }
      : await run(pool, body, shape);
  const text = JSON.stringify(answer);
  if (Buffer.byteLength(text) > MESSAGE_MAX_BYTES) {
    throw new Refusal(507, `The answer is larger than ${MESSAGE_MAX_BYTES} bytes: ask for fewer rows.`);
  }
  return text;
}

function requireLocal(databaseUrl: string, databasePort: number): void {
  const url = URL.canParse(databaseUrl) ? new URL(databaseUrl) : undefined;
  // A `host` parameter would win over the address in the URL.
  const elsewhere = url?.searchParams.has("host") || url?.searchParams.has("port");
  if (!url || elsewhere || url.hostname !== LOOPBACK || url.port !== `${databasePort}`) {
    throw new Refusal(403, `The bridge connects to ${LOOPBACK}:${databasePort} only.`);
  }
}

function parseBody(text: string): Query | { queries: Query[] } {
  try {
    const body = JSON.parse(text) as Partial<Query & { queries: Query[] }>;
    if (Array.isArray(body.queries)) return { queries: body.queries };
    if (typeof body.query === "string") return body as Query;
  } catch {
    // Answered below.
  }
  throw new Refusal(400, "The body must be JSON with `query` and `params`, or `queries`.");
}

function beginStatement(header: (name: string) => string | undefined): string {
  const words = ["begin"];
  const isolation = header("neon-batch-isolation-level");
  if (isolation !== undefined) {
    const level = ISOLATION_LEVELS[isolation];
    if (!level) throw new Refusal(400, `Unknown isolation level ${isolation}.`);
    words.push(`isolation level ${level}`);
  }
  const readOnly = header("neon-batch-read-only");
  if (readOnly !== undefined) words.push(readOnly === "true" ? "read only" : "read write");
  const deferrable = header("neon-batch-deferrable");
  if (deferrable !== undefined) words.push(deferrable === "true" ? "deferrable" : "not deferrable");
  return words.join(" ");
}

async function transaction(pool: pg.Pool, queries: Query[], begin: string, shape: Shape): Promise<Result[]> {
  const client = await pool.connect();
  let broken: Error | undefined;
  // Without a listener, a server that dies in mid-query would take this process with it.
  const onError = (error: Error): void => void (broken = error);
  client.on("error", onError);
  try {
    await client.query(begin);
    const results: Result[] = [];
    for (const query of queries) results.push(await run(client, query, shape));
    await client.query("commit");
    return results;
  } catch (error) {
    await client.query("rollback").catch((failure: Error) => (broken = failure));
    throw error;
  } finally {
    client.off("error", onError);
    client.release(broken);
  }
}

interface Shape {
  readonly array: boolean;
  readonly rawText: boolean;
}

interface Result {
  readonly command: string;
  readonly rowCount: number | null;
  readonly rows: unknown[];
  readonly fields: pg.FieldDef[];
  readonly rowAsArray: boolean;
}

const RAW_TEXT: pg.CustomTypesConfig = { getTypeParser: () => (text: unknown) => text };

async function run(runner: pg.Pool | pg.PoolClient, query: Query, shape: Shape): Promise<Result> {
  const { command, rowCount, rows, fields } = await runner.query({
    text: query.query,
    values: query.params ?? [],
    ...(shape.array && { rowMode: "array" as const }),
    ...(shape.rawText && { types: RAW_TEXT }),
  });
  return { command, rowCount, rows, fields, rowAsArray: shape.array };
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.byteLength;
    if (bytes > MESSAGE_MAX_BYTES)
      throw new Refusal(413, `A request holds at most ${MESSAGE_MAX_BYTES} bytes.`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function send(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}

function sendError(response: ServerResponse, thrown: unknown): void {
  const error = thrown as Error & Partial<Record<(typeof ERROR_FIELDS)[number], string>>;
  const status = error instanceof Refusal ? error.status : error instanceof pg.DatabaseError ? 400 : 503;
  const fields = Object.fromEntries(ERROR_FIELDS.map((name) => [name, error[name]]));
  send(response, status, JSON.stringify({ message: error.message, ...fields }));
}

/** The driver names the server it wants as `address`; only ours is reached. */
function pipe(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  sockets: WebSocketServer,
  databasePort: number,
): void {
  const url = new URL(request.url ?? "/", "http://bridge");
  const allowed =
    request.headers.origin === undefined &&
    url.pathname === "/v2" &&
    url.searchParams.get("address") === `${LOOPBACK}:${databasePort}`;
  if (!allowed) {
    socket.end("HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    return;
  }
  sockets.handleUpgrade(request, socket, head, (webSocket) => {
    const client = createWebSocketStream(webSocket);
    const server = connect(databasePort, LOOPBACK);
    client.on("error", () => server.destroy());
    server.on("error", () => webSocket.terminate());
    client.pipe(server).pipe(client);
  });
}

async function close(server: Server): Promise<void> {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
}

/** Child process that reads prepared streams in one of several ways, and tells the CPU time that it took. */
import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";
import { create } from "@bufbuild/protobuf";
import { Gateway } from "../../client/http.ts";
import { fetchSource, type BatchSource, type SourceContext } from "../../client/stream/source.ts";
import { releaseMessage } from "../../companion/receive/messages.ts";
import { socketSource } from "../../companion/receive/socket-source.ts";
import { DataStreamService, StreamBatchesRequestSchema } from "../../proto/index.ts";

export type Reader = "socket" | "fetch" | "connect-node";

export interface ReadOrder {
  readonly url: string;
  readonly ca: string;
  readonly messages: number;
}

export interface ReadAnswer {
  /** Bytes of items that came. */
  readonly bytes: number;
  /** CPU seconds of this process, in its own code and the kernel's for it. */
  readonly cpuSeconds: number;
}

const reader = process.argv[2] as Reader;
const sources = new Map<string, BatchSource>();

process.on("message", (order: ReadOrder) => void run(order).then((answer) => process.send?.(answer)));
process.on("disconnect", () => process.exit());

async function run(order: ReadOrder): Promise<ReadAnswer> {
  const before = process.cpuUsage();
  const bytes = reader === "connect-node" ? await readConnect(order) : await readSource(order);
  const { user, system } = process.cpuUsage(before);
  return { bytes, cpuSeconds: (user + system) / 1e6 };
}

async function readSource({ url, ca, messages }: ReadOrder): Promise<number> {
  const source = sources.get(url) ?? (reader === "fetch" ? fetchSource : socketSource({ tls: { ca } }));
  sources.set(url, source);
  const gateway = new Gateway({
    gateway: url,
    fetch: (input, init) => fetch(input, withCount(init, messages)),
  });
  const authorize = (): Promise<Record<string, string>> =>
    Promise.resolve({ "x-messages": String(messages) });
  const context = {
    gateway: Object.assign(gateway, { authorize }),
    accessToken: "t",
    signal: new AbortController().signal,
  };
  const batches = await source.open(create(StreamBatchesRequestSchema), context as unknown as SourceContext);
  let bytes = 0;
  for (let next = await batches.next(); next.done !== true; next = await batches.next()) {
    for (const item of next.value.items) bytes += item.byteLength;
    releaseMessage(next.value);
  }
  return bytes;
}

function withCount(init: RequestInit | undefined, messages: number): RequestInit {
  const headers = new Headers(init?.headers);
  headers.set("x-messages", String(messages));
  return { ...init, headers };
}

async function readConnect({ url, ca, messages }: ReadOrder): Promise<number> {
  const transport = createConnectTransport({
    baseUrl: url,
    httpVersion: "1.1",
    acceptCompression: [],
    nodeOptions: { ca },
  });
  const client = createClient(DataStreamService, transport);
  let bytes = 0;
  for await (const batch of client.streamBatches({}, { headers: { "x-messages": String(messages) } }))
    for (const item of batch.items) bytes += item.byteLength;
  return bytes;
}

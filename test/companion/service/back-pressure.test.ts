import { setImmediate as turn } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node";
import { expect, test } from "vitest";
import { Activity } from "../../../companion/service/activity.ts";
import { loadConfiguration } from "../../../companion/service/configuration.ts";
import { Gateways } from "../../../companion/service/gateways.ts";
import { httpHandler } from "../../../companion/service/http.ts";
import { Metrics } from "../../../companion/service/metrics.ts";
import { OnePort } from "../../../companion/service/one-port.ts";
import { BatchResponseSchema, DataStreamService } from "../../../proto/index.ts";

const MESSAGES = 120;
const MESSAGE_BYTES = 1024 * 1024;

test.each([
  ["gRPC", (baseUrl: string) => createGrpcTransport({ baseUrl })],
  ["Connect over HTTP/1.1", (baseUrl: string) => createConnectTransport({ baseUrl, httpVersion: "1.1" })],
])("%s: no more is prepared than a slow reader can soon take", async (_, open) => {
  let sent = 0;
  const activity = new Activity(0, () => undefined);
  const { values } = loadConfiguration({ flags: {}, environment: {}, file: undefined });
  const handle = httpHandler({
    guard: { hosts: [], origins: [], secret: undefined },
    isUnix: false,
    version: "test",
    gateway: undefined,
    handoffSocket: "",
    backends: [],
    gateways: new Gateways(values),
    opener: {
      async *batches() {
        const items = [new Uint8Array(MESSAGE_BYTES)];
        for (; sent < MESSAGES; sent++)
          yield create(BatchResponseSchema, { batchIndex: BigInt(sent), items });
      },
    },
    metrics: new Metrics({
      messageBytes: () => 0,
      slots: () => ({ held: 0, all: 0 }),
      draining: () => false,
    }),
    activity,
    health: () => ({ draining: false, streams: 0 }),
  });
  const port = await OnePort.listen({ address: { host: "127.0.0.1", port: 0 }, handle });
  const client = createClient(DataStreamService, open(`http://127.0.0.1:${port.address}`));
  let read = 0;
  let ahead = 0;
  for await (const batch of client.streamBatches({ accessToken: "t" })) {
    expect(batch.batchIndex).toBe(BigInt(read));
    read += 1;
    for (let i = 0; i < 10; i++) await turn();
    ahead = Math.max(ahead, sent - read);
  }
  expect(read).toBe(MESSAGES);
  // What fits the sockets' buffers, and not what the stream holds.
  expect(ahead).toBeLessThan(MESSAGES / 4);
  await port.close();
});

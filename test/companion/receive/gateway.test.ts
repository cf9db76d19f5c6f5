/** The source against the real gateway, which cuts responses short so that streams are continued. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { DataStreamClient } from "../../../client/client.ts";
import { fetchSource, type BatchSource } from "../../../client/stream/source.ts";
import { streamBatches } from "../../../client/stream/stream.ts";
import { MessagePool } from "../../../companion/receive/message-pool.ts";
import { releaseMessage } from "../../../companion/receive/messages.ts";
import { socketSource } from "../../../companion/receive/socket-source.ts";
import { toHex } from "../../../core/bytes.ts";
import type { DataStreamError } from "../../../core/errors.ts";
import {
  addDataset,
  kernels,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../../stream/fixture.ts";

let gateway: StreamGateway;
let dataset: TestDataset;
let client: DataStreamClient;
beforeAll(async () => {
  gateway = await startStreamGateway({ bindings: { INVOCATION_SUBREQUESTS: "50" } });
  dataset = await addDataset(
    gateway,
    noiseFiles(120, (i) => 100 + 61 * i),
  );
  const { token } = await dataset.token();
  client = new DataStreamClient({ gateway: gateway.url, accessToken: token });
});
afterAll(() => gateway.stop());

/** Item hashes and transcript heads of two epochs, which say everything about them. */
async function stream(source: BatchSource, streamId: string): Promise<string[]> {
  const seen: string[] = [];
  for await (const batch of client.streamBatches({
    dataset: dataset.name,
    batchSize: 16,
    shuffle: true,
    epochs: 2,
    streamId,
    source,
  })) {
    seen.push(...batch.itemHashes.map(toHex), toHex(batch.transcriptHead));
    for (const [i, index] of batch.indices.entries())
      expect(
        Buffer.compare(batch.items[i] as Uint8Array, (dataset.files[index] as { bytes: Uint8Array }).bytes),
      ).toBe(0);
    releaseMessage(batch.message);
  }
  return seen;
}

test("a stream over the socket is the stream over fetch, and gives all memory back", async () => {
  const pool = new MessagePool();
  const overSocket = await stream(socketSource({ pool }), "socket");
  expect(overSocket).toEqual(await stream(fetchSource, "fetch"));
  expect(overSocket).toHaveLength(2 * (120 + 8));
  expect(pool.heldBytes).toBe(0);
});

test("what the gateway refuses is refused alike", async () => {
  const verified = await client.openDataset(dataset.name);
  const refusal = async (source: BatchSource): Promise<unknown> => {
    const context = {
      gateway: client.gateway,
      dataset: verified,
      accessToken: "x.y.z",
      blake3: kernels.blake3,
    };
    const batches = streamBatches(context, { dataset: dataset.name, batchSize: 4, source });
    const error = await batches.next().then(
      () => undefined,
      (thrown: DataStreamError) => thrown,
    );
    return { code: error?.code, message: error?.message, details: error?.details };
  };
  const expected = await refusal(fetchSource);
  expect(expected).toMatchObject({ code: "unauthenticated" });
  expect(await refusal(socketSource())).toEqual(expected);
});

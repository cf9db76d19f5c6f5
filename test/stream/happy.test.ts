import { createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DataStreamService } from "../../proto/index.ts";
import { addDataset, noiseFiles, startStreamGateway, type StreamGateway } from "./fixture.ts";

let gateway: StreamGateway;
beforeAll(async () => {
  gateway = await startStreamGateway();
});
afterAll(() => gateway.stop());

test("streams", async () => {
  const dataset = await addDataset(
    gateway,
    noiseFiles(100, (i) => 500 + i * 37),
  );
  const { token } = await dataset.token();
  const client = createClient(
    DataStreamService,
    createConnectTransport({ baseUrl: gateway.url, useBinaryFormat: true }),
  );
  let n = 0;
  for await (const batch of client.streamBatches({
    datasetId: dataset.id,
    accessToken: token,
    batchSize: 8,
    shuffle: true,
  })) {
    batch.items.forEach((item, i) => {
      expect(Buffer.from(item).equals(dataset.files[Number(batch.itemIndices[i])]!.bytes)).toBe(true);
      n++;
    });
  }
  expect(n).toBe(100);
});

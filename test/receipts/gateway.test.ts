import { randomUUID } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { createProof } from "../../client/proof.ts";
import { readReceipt, verifyReceipt } from "../../client/receipts.ts";
import { toBase64 } from "../../core/base64.ts";
import { signConsumerStatement } from "../../core/stream/consumer-statement.ts";
import type { Receipt } from "../../core/stream/receipt.ts";
import type { Envelope } from "../../core/trust/dsse.ts";
import { keyPairOf } from "../../core/trust/ed25519.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { createSigningKeys } from "../../scripts/stack/state.ts";
import { addUser } from "../api/users.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";
import { acknowledge, ackOf, type StreamInit, WireStream } from "../stream/wire.ts";
import { cyxcloud } from "./verifiers.ts";

const ITEMS = 61;
let gateway: StreamGateway;
let dataset: TestDataset;
let token: string;
let client: DataStreamClient;
beforeAll(async () => {
  gateway = await startStreamGateway();
  dataset = await addDataset(
    gateway,
    noiseFiles(ITEMS, (i) => 300 + i),
  );
  ({ token } = await dataset.token());
  client = new DataStreamClient({ gateway: gateway.url, apiKey: gateway.owner.apiKey });
});
afterAll(() => gateway.stop());

function init(streamId: string, fields: StreamInit = {}): StreamInit {
  return {
    datasetId: dataset.id,
    accessToken: token,
    batchSize: 2,
    shuffle: true,
    seed: 5n,
    streamId,
    ...fields,
  };
}

/** Attaches, receives so many batches, acknowledges the last and leaves. */
async function consume(request: StreamInit, batches: number, checkpoint = false): Promise<BatchResponse> {
  const stream = await WireStream.open(gateway.url, request);
  let last: BatchResponse | undefined;
  for (let i = 0; i < batches; i++) last = await stream.next();
  await acknowledge(gateway.url, ackOf(request, last as BatchResponse, checkpoint));
  stream.cut();
  return last as BatchResponse;
}

async function receiptOf(streamId: string): Promise<Receipt> {
  const { receipt } = await verifyReceipt(await client.receipts.evidence(dataset.id, streamId));
  return receipt;
}

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");

describe("the receipt", () => {
  test("of an unbroken epoch names its one lease, token, node and times, with the node's own signature", async () => {
    const streamId = randomUUID();
    const nodeKey = keyPairOf(new Uint8Array(32).fill(9));
    const { id: nodeId } = await client.nodes.register("node-1", nodeKey);
    const bound = await client.datasets.createToken(dataset.id, { node: "node-1" });
    const node = new DataStreamClient({ gateway: gateway.url, accessToken: bound.token, nodeKey });
    const started = Date.now();
    let head: Uint8Array | undefined;
    const options = { dataset: dataset.id, batchSize: 8, streamId };
    for await (const batch of node.streamBatches(options)) head = batch.transcriptHead;
    const evidence = await client.receipts.evidence(dataset.id, streamId);
    const { receipt, consumerSignatures } = await verifyReceipt(evidence);
    expect(consumerSignatures).toBe(1);
    expect(receipt).toMatchObject({
      issuer: "urn:cyxcloud:test",
      user_id: gateway.owner.userId,
      stream_id: streamId,
      item_count: ITEMS,
      omitted_leases: 0,
      parameters: { dataset_id: dataset.id, batch_size: 8 },
      segments: [
        {
          generation: 1,
          epoch: 0,
          rank: 0,
          world_size: 1,
          start_index: 0,
          prepared_batches: 8,
          prepared_head: hex(head),
          acknowledged_batches: 8,
          acknowledged_head: hex(head),
          leases: [
            {
              lease: 1,
              token_id: bound.id,
              node_id: nodeId,
              first_batch: 0,
              acknowledgement: {
                batches: 8,
                void: null,
                consumer: { public_key: toBase64(nodeKey.publicKey), node_id: nodeId },
              },
            },
          ],
        },
      ],
    });
    const acknowledgedAt = receipt.segments[0]?.leases[0]?.acknowledgement?.at ?? "";
    expect(acknowledgedAt >= receipt.started_at && acknowledgedAt <= receipt.issued_at).toBe(true);
    expect(Date.parse(receipt.started_at)).toBeGreaterThanOrEqual(started - 1_000);
  });

  test("of a rank that went back names what is void", async () => {
    const streamId = randomUUID();
    await consume(init(streamId), 6);
    await consume(init(streamId), 2); // goes on: batches 6 and 7
    const last = await consume(init(streamId, { resumeBatchIndex: 3n }), 2); // goes back: batches 3 and 4
    const { segments } = await receiptOf(streamId);
    expect(segments).toHaveLength(1);
    expect(segments[0]).toMatchObject({
      acknowledged_batches: 5,
      acknowledged_head: hex(last.transcriptHead),
    });
    expect(segments[0]?.prepared_batches).toBeGreaterThanOrEqual(8);
    expect(
      segments[0]?.leases.map(({ lease, first_batch, acknowledgement }) => [
        lease,
        first_batch,
        acknowledgement?.batches,
        acknowledgement?.void,
      ]),
    ).toEqual([
      [1, 0, 6, { from_batch: 3, by_lease: 3 }],
      [2, 6, 8, { from_batch: 3, by_lease: 3 }],
      [3, 3, 5, null],
    ]);
  });

  test("of a run that goes on with more ranks names what the restart took back", async () => {
    const streamId = randomUUID();
    await consume(init(streamId, { worldSize: 2, rank: 0 }), 2, true);
    await consume(init(streamId, { worldSize: 2, rank: 1 }), 2, true);
    await consume(init(streamId, { worldSize: 2, rank: 0 }), 3);
    const last = await consume(init(streamId, { worldSize: 3, rank: 2 }), 1);
    const { segments } = await receiptOf(streamId);
    expect(
      segments.map((each) => [
        each.generation,
        each.rank,
        each.start_index,
        each.acknowledged_batches,
        each.leases.map(({ acknowledgement }) => acknowledgement?.void ?? null),
      ]),
    ).toEqual([
      [1, 0, 0, 2, [null, { from_batch: 2, by_lease: 4 }]],
      [1, 1, 0, 2, [null]],
      [2, 2, 8, 1, [null]],
    ]);
    expect(segments[2]?.acknowledged_head).toBe(hex(last.transcriptHead));
  });

  test("is the same by the datastream service", async () => {
    const streamId = randomUUID();
    await consume(init(streamId), 1);
    const response = await gateway.request("/cyxcloud.datastream.DataStreamService/GetReceipt", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ datasetId: dataset.id, streamId }),
    });
    const wire = (await response.json()) as {
      payloadType: string;
      payload: string;
      signatures: { keyId: string; signature: string }[];
    };
    const { keyId = "", signature = "" } = wire.signatures[0] ?? {};
    const envelope = { ...wire, signatures: [{ keyid: keyId, sig: signature }] };
    const evidence = await client.receipts.evidence(dataset.id, streamId);
    const { receipt } = await verifyReceipt({ ...evidence, envelope });
    expect({ ...receipt, issued_at: "" }).toEqual({ ...readReceipt(evidence.envelope), issued_at: "" });
  });

  test("holds no consumer's signature that does not verify", async () => {
    const request = init(randomUUID());
    const stream = await WireStream.open(gateway.url, request);
    const ack = ackOf(request, (await stream.next()) as BatchResponse);
    const { publicKey } = keyPairOf(new Uint8Array(32).fill(9));
    const forged = { ...ack, consumerKey: publicKey, consumerSignature: new Uint8Array(64).fill(1) };
    await expect(acknowledge(gateway.url, forged)).rejects.toMatchObject({ code: "invalid_argument" });
    await expect(acknowledge(gateway.url, { ...ack, consumerKey: publicKey })).rejects.toMatchObject({
      code: "invalid_argument",
    });
    expect((await acknowledge(gateway.url, ack)).acknowledgedBatches).toBe(1n);
    stream.cut();
  });
});

describe("a consumer's key", () => {
  const keys = { own: keyPairOf(new Uint8Array(32).fill(21)), other: keyPairOf(new Uint8Array(32).fill(22)) };
  let node: { readonly id: string; readonly token: string };
  beforeAll(async () => {
    const { id } = await client.nodes.register("signs", keys.own);
    const { token: bound } = await client.datasets.createToken(dataset.id, { node: "signs" });
    node = { id, token: bound };
  });

  /** One batch of a new stream, and its acknowledgement signed with a key. */
  async function signedAck(
    key: keyof typeof keys,
  ): Promise<{ streamId: string; ack: ReturnType<typeof ackOf> }> {
    const request = init(randomUUID());
    const stream = await WireStream.open(gateway.url, request);
    const batch = (await stream.next()) as BatchResponse;
    stream.cut();
    const signature = signConsumerStatement(
      {
        datasetId: dataset.id,
        streamId: batch.streamId,
        epoch: batch.epoch,
        rank: 0,
        lease: Number(batch.lease),
        batches: 1,
        head: batch.transcriptHead,
      },
      keys[key],
    );
    const consumer = { consumerKey: signature.publicKey, consumerSignature: signature.signature };
    return { streamId: batch.streamId, ack: { ...ackOf(request, batch), ...consumer } };
  }

  const asNode = async (ack: ReturnType<typeof ackOf>): Promise<unknown> => {
    const url = `${gateway.url}/cyxcloud.datastream.DataStreamService/AckBatches`;
    const proof = await createProof(keys.own, { method: "POST", url, credential: node.token });
    return acknowledge(gateway.url, { ...ack, accessToken: node.token }, { dpop: proof });
  };
  const consumerOf = async (streamId: string): Promise<unknown> =>
    (await receiptOf(streamId)).segments[0]?.leases[0]?.acknowledgement?.consumer;

  test("is the one that the node registered where the token is bound to it, and no other", async () => {
    const wrong = await signedAck("other");
    await expect(asNode(wrong.ack)).rejects.toMatchObject({ code: "permission_denied" });
    expect(await consumerOf(wrong.streamId)).toBeUndefined();
    const right = await signedAck("own");
    expect(await asNode(right.ack)).toMatchObject({ acknowledgedBatches: 1n });
    expect(await consumerOf(right.streamId)).toMatchObject({
      public_key: toBase64(keys.own.publicKey),
      node_id: node.id,
    });
  });

  test("is self-asserted where the token is bound to none, also if some node registered it", async () => {
    for (const key of ["own", "other"] as const) {
      const { streamId, ack } = await signedAck(key);
      await acknowledge(gateway.url, ack);
      expect(await consumerOf(streamId)).toMatchObject({
        public_key: toBase64(keys[key].publicKey),
        node_id: null,
      });
    }
  });
});

test("the command fetches it with all that verifies it, and verifies it offline", async () => {
  const streamId = randomUUID();
  await consume(init(streamId), 6);
  await consume(init(streamId, { resumeBatchIndex: 3n }), 2);
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-receipt-"));
  const account = { CYXCLOUD_GATEWAY: gateway.url, CYXCLOUD_API_KEY: gateway.owner.apiKey };
  const fetched = await cyxcloud(["receipt", "get", dataset.name, streamId, "--to", folder], account);
  expect(fetched.output).toMatch(
    new RegExp(`^Receipt of ${streamId} in ${folder}\n {2}Stream: ${streamId}\n`),
  );
  const verified = await cyxcloud(["receipt", "verify", join(folder, "receipt.json")]);
  expect(verified.output).toMatch(/^Receipt: valid\n/);
  expect(verified.output).toMatch(/^0 +0 +1 +0 +5 of \d+ +3–5 by lease 2 +[0-9a-f]{8}…$/m);
  const printed = await cyxcloud(["receipt", "get", dataset.name, streamId], account);
  expect(JSON.parse(printed.output)).toHaveProperty("payload");
  rmSync(folder, { recursive: true });
  expect((await cyxcloud(["receipt", "verify", join(folder, "receipt.json")])).output).toMatch(
    /cannot be read/,
  );
});

describe("who may have it", () => {
  test("the user of the stream, and who holds a token of that user for the version", async () => {
    const streamId = "a run / of ours";
    await consume(init(streamId), 2);
    const holder = new DataStreamClient({ gateway: gateway.url, accessToken: token });
    expect(readReceipt(await holder.receipts.get(dataset.name, streamId)).stream_id).toBe(streamId);

    const stranger = await addUser(gateway, "stranger");
    const others = new DataStreamClient({ gateway: gateway.url, apiKey: stranger.apiKey });
    await expect(others.receipts.get(dataset.id, streamId)).rejects.toMatchObject({ code: "not_found" });
    await expect(client.receipts.get(dataset.id, "another")).rejects.toMatchObject({ code: "not_found" });
    await expect(client.receipts.get(dataset.id, "")).rejects.toMatchObject({ code: "not_found" });
    const route = `/api/streams/${encodeURIComponent(streamId)}/receipt?dataset=${dataset.id}`;
    expect((await gateway.request(route, { headers: { authorization: "Bearer nobody" } })).status).toBe(401);
    expect((await gateway.request(route)).status).toBe(200);
  });

  test("the user also when the version was deleted", async () => {
    const short = await addDataset(
      gateway,
      noiseFiles(5, () => 10),
    );
    const request = init(randomUUID(), { datasetId: short.id, accessToken: (await short.token()).token });
    await consume(request, 1);
    await client.datasets.delete(short.id);
    const envelope = await client.receipts.get(short.id, request.streamId as string);
    expect(readReceipt(envelope).segments[0]?.acknowledged_batches).toBe(1);
  });
});

test("outlives the session", async () => {
  const streamId = "nightly";
  const stored = async (): Promise<Envelope[]> => {
    const rows = await gateway.database.sql.query({
      text: "SELECT envelope FROM stream_receipts ORDER BY started_at",
      values: [],
    });
    return rows.map((row) => row["envelope"] as Envelope);
  };
  await consume(init(streamId), 4);
  // From here on, an alarm that an attachment sets is due at once.
  await gateway.restart({ STREAM_SESSION_IDLE_MS: "1" });
  const kept = async (count: number): Promise<Receipt> => {
    const last = await WireStream.open(gateway.url, init(streamId));
    await vi.waitFor(async () => expect(await stored()).toHaveLength(count), { timeout: 30_000 });
    last.cut();
    // While the session lives, every answer is signed anew.
    await vi.waitFor(
      async () => expect(await client.receipts.get(dataset.id, streamId)).toEqual((await stored()).at(-1)),
      { timeout: 30_000 },
    );
    return receiptOf(streamId);
  };
  const first = await kept(1);
  expect(first.segments[0]).toMatchObject({ acknowledged_batches: 4, leases: [{ lease: 1 }, { lease: 2 }] });
  // The id starts anew, and the newer session's receipt is the one that is answered.
  const second = await kept(2);
  expect(second.segments[0]).toMatchObject({ acknowledged_batches: 0, leases: [{ lease: 1 }] });
  expect(Date.parse(second.started_at)).toBeGreaterThan(Date.parse(first.started_at));

  // A receipt whose key is published no longer is signed anew, as it was kept.
  const before = await client.receipts.get(dataset.id, streamId);
  await gateway.restart({ SIGNING_KEYS: createSigningKeys() });
  const after = await client.receipts.get(dataset.id, streamId);
  expect(after.payload).toBe(before.payload);
  expect(after.signatures[0].keyid).not.toBe(before.signatures[0].keyid);
  expect(await receiptOf(streamId)).toEqual(second);
});

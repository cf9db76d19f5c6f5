/**
 * Altered receipts: some by anybody, some by the gateway itself, which signs whatever it likes. The client, the command
 * and the script accept the original and refuse each of them.
 */
import { createPrivateKey, randomUUID, sign as signBytes, type JsonWebKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { readReceipt } from "../../client/receipts.ts";
import { fromBase64, toBase64 } from "../../core/base64.ts";
import { encodeManifest } from "../../core/dataset/manifest.ts";
import { RECEIPT_TYPE } from "../../core/stream/receipt.ts";
import { type Envelope, envelopeOf, preAuthentication } from "../../core/trust/dsse.ts";
import { statementBytes } from "../../core/trust/statement.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { createSigningKeys } from "../../scripts/stack/state.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";
import { acknowledge, ackOf, type StreamInit, WireStream } from "../stream/wire.ts";
import { PYTHON, type ReceiptFiles, verifyByClient, verifyByCommand, verifyByScript } from "./verifiers.ts";

type Jwk = JsonWebKey & { kid: string };
/** The payload as an attacker sees it. */
// oxlint-disable-next-line typescript/no-explicit-any -- anything may be changed
type Loose = any;

let gateway: StreamGateway;
let dataset: TestDataset;
let client: DataStreamClient;
/** The receipt of a run of two ranks, one of which went back, and which went on as three. */
let original: ReceiptFiles & { readonly envelope: Envelope };
let gatewayKey: Jwk;
const stranger = (JSON.parse(createSigningKeys()) as { keys: [Jwk] }).keys[0];

beforeAll(async () => {
  gateway = await startStreamGateway();
  dataset = await addDataset(
    gateway,
    noiseFiles(61, (i) => 20 + i),
  );
  client = new DataStreamClient({ gateway: gateway.url, apiKey: gateway.owner.apiKey });
  gatewayKey = (JSON.parse(gateway.signingKeys) as { keys: [Jwk] }).keys[0];
  const streamId = randomUUID();
  await consume({ streamId, worldSize: 2, rank: 0 }, 5, true);
  await consume({ streamId, worldSize: 2, rank: 1 }, 4, true);
  await consume({ streamId, worldSize: 2, rank: 0, resumeBatchIndex: 2n }, 2, true);
  await consume({ streamId, worldSize: 2, rank: 1, resumeBatchIndex: 2n }, 2, true);
  await consume({ streamId, worldSize: 2, rank: 1 }, 1);
  await consume({ streamId, worldSize: 3, rank: 1 }, 3);
  original = await filesOf(streamId);
});
afterAll(() => gateway.stop());

async function consume(fields: StreamInit, batches: number, checkpoint = false): Promise<void> {
  const { token } = await dataset.token();
  const request = {
    datasetId: dataset.id,
    accessToken: token,
    batchSize: 2,
    shuffle: true,
    seed: 3n,
    ...fields,
  };
  const stream = await WireStream.open(gateway.url, request);
  let last: BatchResponse | undefined;
  for (let i = 0; i < batches; i++) last = await stream.next();
  await acknowledge(gateway.url, ackOf(request, last as BatchResponse, checkpoint));
  stream.cut();
}

async function filesOf(streamId: string): Promise<typeof original> {
  const evidence = await client.receipts.evidence(dataset.id, streamId);
  const { jwks } = evidence as { jwks: { keys: Jwk[] } };
  const { d: _, ...publicKey } = stranger;
  return { ...evidence, jwks: { keys: [...jwks.keys, { ...publicKey, kid: "another" }] } };
}

const FORGERIES: readonly [string, (envelope: Envelope) => unknown][] = [
  ["a payload that says more", (e) => ({ ...e, payload: unsigned(e, (r) => (r.item_count += 1)) })],
  ["a payload of another stream", (e) => ({ ...e, payload: unsigned(e, (r) => (r.stream_id = "x")) })],
  ["another payload type", (e) => ({ ...e, payloadType: "application/json" })],
  ["a flipped bit of the signature", (e) => withSignature(e, { sig: flipped(e.signatures[0].sig) })],
  ["the name of another key of the set", (e) => withSignature(e, { keyid: "another" })],
  ["the name of a key that is not in the set", (e) => withSignature(e, { keyid: "nobody" })],
  [
    "a stranger's signature under the gateway's key id",
    (e) => resigned(payloadOf(e), stranger, gatewayKey.kid),
  ],
  ["no signature", (e) => ({ ...e, signatures: [] })],
];

const LIES: readonly [string, (receipt: Loose) => void][] = [
  ["another seed", (r) => (r.parameters.seed = "4")],
  ["another order", (r) => (r.parameters.mode = "sequential")],
  ["another batch size", (r) => (r.parameters.batch_size = 1)],
  ["another dataset", (r) => (r.parameters.dataset_id = randomUUID())],
  ["another content hash", (r) => (r.parameters.content_hash = "00".repeat(32))],
  ["another number of items", (r) => (r.item_count -= 1)],
  ["another rank", (r) => (r.segments[2].rank = 2)],
  ["another epoch", (r) => (r.segments[2].epoch = 1)],
  ["another world size", (r) => (r.segments[2].world_size = 4)],
  ["another start", (r) => (r.segments[2].start_index += 2)],
  [
    "an acknowledged head of another batch",
    (r) => (r.segments[2].acknowledged_head = r.segments[2].prepared_head),
  ],
  ["a lease's head that is no head", (r) => (r.segments[0].leases[0].acknowledgement.head = "ab".repeat(32))],
  ["batches that were never prepared", (r) => (r.segments[2].prepared_batches += 1)],
  ["fewer prepared batches than acknowledged ones", (r) => (r.segments[2].prepared_batches = 1)],
  ["an acknowledged batch more", (r) => (r.segments[2].acknowledged_batches += 1)],
  ["an acknowledged batch less", (r) => (r.segments[2].acknowledged_batches -= 1)],
  ["a void acknowledgement that stands again", (r) => (r.segments[0].leases[0].acknowledgement.void = null)],
  ["a void that begins later", (r) => (r.segments[0].leases[0].acknowledgement.void.from_batch += 1)],
  ["a void by another lease", (r) => (r.segments[1].leases[2].acknowledgement.void.by_lease -= 1)],
  ["an acknowledgement that is taken back by nobody", (r) => voidEverything(r.segments[2].leases[0])],
  ["another format", (r) => (r.format = 2)],
];

const verifiers = [
  ["the client", verifyByClient, true],
  ["the script", verifyByScript, PYTHON !== undefined],
] as const;

/** A process for each takes its time, so the command is shown those that anybody can make and some others. */
test("the command accepts the original, and refuses what is altered", async () => {
  const { accepted, output } = await verifyByCommand(original);
  expect({ accepted, output }).toEqual({
    accepted: true,
    output: expect.stringMatching(/^Receipt: valid\n/),
  });
  for (const [, alter] of FORGERIES) await refusedByCommand(alter(original.envelope));
  for (const [, alter] of LIES.slice(-7)) await refusedByCommand(lie(alter));
});

async function refusedByCommand(envelope: unknown): Promise<void> {
  const { accepted, output } = await verifyByCommand({ ...original, envelope });
  expect({ accepted, output }).toEqual({
    accepted: false,
    output: expect.stringMatching(/^error: receipt: /),
  });
}

describe.each(verifiers)("%s", (_name, verify, available) => {
  test.skipIf(!available)(
    "accepts the original (the script needs test/receipts/requirements.txt)",
    async () => {
      const { accepted, output } = await verify(original);
      expect({ accepted, output }).toEqual({ accepted: true, output: expect.any(String) });
    },
  );

  describe("refuses what anybody can alter", () => {
    test.skipIf(!available).each(FORGERIES)("%s", async (_what, alter) => {
      const altered = { ...original, envelope: alter(original.envelope) };
      expect(altered.envelope).not.toEqual(original.envelope);
      expect(await verify(altered)).toMatchObject({ accepted: false });
    });
  });

  describe("refuses what the gateway signs, but cannot be", () => {
    test.skipIf(!available).each(LIES)("%s", async (_what, alter) => {
      const envelope = lie(alter);
      expect(envelope).not.toEqual(original.envelope);
      expect(await verify({ ...original, envelope })).toMatchObject({ accepted: false });
    });
  });

  test.skipIf(!available).each(FORGERIES.slice(3, 7))("says why in one line: %s", async (_what, alter) => {
    const { output } = await verify({ ...original, envelope: alter(original.envelope) });
    expect(output).toMatch(/^(error|refused): .+\n?$/);
  });

  test.skipIf(!available)("refuses a payload in another spelling", async () => {
    const spaced = new TextEncoder().encode(JSON.stringify(readReceipt(original.envelope), null, 1));
    expect(await verify({ ...original, envelope: resigned(spaced, gatewayKey) })).toMatchObject({
      accepted: false,
    });
  });

  test.skipIf(!available)("refuses the manifest of other files", async () => {
    const manifest = encodeManifest([{ path: "a", size: 1, contentHash: new Uint8Array(32) }]);
    expect(await verify({ ...original, manifest })).toMatchObject({ accepted: false });
  });

  test.skipIf(!available)("verifies a stream with a filter and a block shuffle", async () => {
    const streamId = randomUUID();
    const filter = { globs: ["class-{1,3}/*", "class-4/**"] };
    const options = {
      dataset: dataset.id,
      batchSize: 5,
      shuffle: "block",
      streamId,
      filter,
      seed: -7,
    } as const;
    const block = { blockSize: 4, lanes: 2, blocksPerGroup: 1 };
    const view = new Set<number>();
    for await (const batch of client.streamBatches({ ...options, block, tail: "pad" }))
      for (const index of batch.indices) view.add(index);
    const files = { ...(await filesOf(streamId)), view: [...view].toSorted((a, b) => a - b) };
    expect(files.view.length).toBeLessThan(61);
    expect(await verify(files)).toMatchObject({ accepted: true });
    const receipt = structuredClone(readReceipt(files.envelope)) as Loose;
    receipt.parameters.view_hash = "12".repeat(32);
    const envelope = resigned(statementBytes(receipt), gatewayKey);
    expect(await verify({ ...files, envelope })).toMatchObject({ accepted: false });
  });
});

test("the script can be read by a stranger: 60 lines, no wider than 120, that import nothing of ours", () => {
  const script = readFileSync(join(import.meta.dirname, "..", "..", "docs", "receipt_verify.py"), "utf8");
  const [, description = "", code = ""] = script.split('"""');
  expect(description).toContain("receipt-v1.md");
  expect(code.split("\n").filter((line) => line.trim() !== "").length).toBeLessThanOrEqual(60);
  expect(Math.max(...script.split("\n").map((line) => line.length))).toBeLessThanOrEqual(120);
  const imported = [...code.matchAll(/^(?:import|from) ([\w, .]+?)(?: import .*)?$/gm)].flatMap(([, names]) =>
    (names as string).split(", "),
  );
  expect(imported.toSorted()).toEqual([
    "base64",
    "blake3",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "hashlib",
    "json",
    "struct",
    "sys",
  ]);
});

/** What the gateway would sign if it lied so. */
function lie(alter: (receipt: Loose) => void): Envelope {
  const receipt = structuredClone(readReceipt(original.envelope)) as Loose;
  expect(resigned(statementBytes(receipt), gatewayKey)).toEqual(original.envelope);
  alter(receipt);
  return resigned(statementBytes(receipt), gatewayKey);
}

function payloadOf({ payload }: Envelope): Uint8Array {
  return fromBase64(payload) as Uint8Array;
}

function unsigned(envelope: Envelope, alter: (receipt: Loose) => void): string {
  const receipt = structuredClone(readReceipt(envelope)) as Loose;
  alter(receipt);
  return toBase64(statementBytes(receipt));
}

function withSignature(envelope: Envelope, fields: Partial<Envelope["signatures"][0]>): Envelope {
  return { ...envelope, signatures: [{ ...envelope.signatures[0], ...fields }] };
}

function flipped(base64: string): string {
  const bytes = fromBase64(base64) as Uint8Array;
  bytes[40] = (bytes[40] as number) ^ 1;
  return toBase64(bytes);
}

function resigned(payload: Uint8Array, key: Jwk, kid: string = key.kid): Envelope {
  const privateKey = createPrivateKey({ key, format: "jwk" });
  const signature = signBytes(null, preAuthentication(RECEIPT_TYPE, payload), privateKey);
  return envelopeOf(RECEIPT_TYPE, payload, kid, new Uint8Array(signature));
}

function voidEverything(lease: Loose): void {
  lease.acknowledgement.void = { from_batch: 0, by_lease: lease.lease };
}

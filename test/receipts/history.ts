/** Made-up histories of a stream's session, with true transcripts, and a model of which acknowledgements stand. */
import fc from "fast-check";
import { encodeManifest } from "../../core/dataset/manifest.ts";
import { DataStreamError } from "../../core/errors.ts";
import { batchPositions, totalBatches, type TailPolicy } from "../../core/stream/batches.ts";
import { createOrder, type OrderMode } from "../../core/stream/order.ts";
import { parametersJson, type StreamParameters } from "../../core/stream/parameters.ts";
import { acknowledge, attach, recordWindow } from "../../core/stream/session.ts";
import type { Segment, SessionRecords } from "../../core/stream/session-records.ts";
import { Transcript } from "../../core/stream/transcript.ts";
import { blake3 } from "../core/blake3.ts";

export const COUNT = 60;
const BATCH = 3;
export const IDENTITY = { userId: "5e1c4c1e-6d0b-4a52-9f0e-0d9a35a6e001", streamId: "run 7/ä" } as const;
const TOKEN = "0b6f3f0e-8f0f-4b43-8e0d-6d0a7a1c9b02";

const hashes = Array.from({ length: COUNT }, (_, i) => blake3.hash(Uint8Array.of(i)));
export const manifest: Uint8Array<ArrayBuffer> = encodeManifest(
  hashes
    .map((contentHash, i) => ({
      path: `class-${i % 3}/${String(i).padStart(3, "0")}`,
      size: 1,
      contentHash,
    }))
    .toSorted((a, b) => (a.path < b.path ? -1 : 1)),
);
/** In manifest order. */
const itemHashes = Array.from({ length: COUNT }, (_, i) => manifest.slice(80 + 48 * i, 112 + 48 * i));

export interface Step {
  readonly action: "attach" | "resume" | "send" | "acknowledge";
  readonly rank: number;
  readonly worldSize: number;
  readonly epoch: number;
  readonly startIndex: number;
  readonly amount: number;
}

export interface History {
  readonly mode: OrderMode;
  readonly tail: TailPolicy;
  readonly seed: bigint;
  readonly processingHash: Uint8Array | undefined;
  readonly steps: readonly Step[];
}

export const histories: fc.Arbitrary<History> = fc.record({
  mode: fc.constantFrom<OrderMode>("sequential", "full", "block"),
  tail: fc.constantFrom<TailPolicy>("short", "drop_last", "pad"),
  seed: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  processingHash: fc.option(fc.uint8Array({ minLength: 32, maxLength: 32 }), { nil: undefined }),
  steps: fc.array(
    fc.record({
      action: fc.constantFrom(
        "attach",
        "resume",
        "send",
        "send",
        "send",
        "acknowledge",
        "acknowledge",
        "acknowledge",
      ),
      rank: fc.constantFrom(0, 0, 0, 1, 2),
      worldSize: fc.constantFrom(1, 2, 2, 2, 2, 2, 2, 3),
      epoch: fc.constantFrom(0, 0, 0, 0, 0, 1),
      startIndex: fc.constantFrom(0, 0, 0, 0, 0, 0, 20, COUNT - 1),
      amount: fc.nat(8),
    }),
    { maxLength: 70, size: "max" },
  ),
});

/** Acknowledged batches that stand, by generation, epoch and rank. */
export type Standing = ReadonlyMap<string, number>;

/** Plays a history into some records, with the model beside it that looks forwards and knows no leases. */
export function play(records: SessionRecords, history: History): Standing {
  const standing = new Map<string, { batches: number; segment: Segment }>();
  const held = new Map<string, { lease: number; segment: Segment; place: string; sent: number }>();
  const entered = new Set<string>();
  let at = Date.UTC(2026, 10, 1);
  for (const { action, rank, worldSize, epoch, startIndex, amount } of history.steps) {
    at += 1_234;
    const key = `${epoch}/${rank}`;
    const current = held.get(key);
    try {
      if (action === "attach" || action === "resume") {
        if (rank >= worldSize) continue;
        const answer = attach(records, {
          parameters: parametersJson(parametersOf(history)),
          shape: { count: COUNT, batchSize: BATCH, tail: history.tail },
          identity: IDENTITY,
          holder: { tokenId: TOKEN, nodeId: null, at },
          epoch,
          rank,
          worldSize,
          startIndex,
          ...(action === "resume" && { resumeBatch: amount }),
        });
        const segment = { epoch, rank, worldSize, startIndex: answer.startIndex };
        const generation = records.latestEpochStart(epoch)?.generation.number ?? 0;
        const place = [generation, epoch, rank].join();
        if (!entered.has(`${generation},${epoch}`)) takeBack(standing, segment);
        entered.add(`${generation},${epoch}`);
        const known = standing.get(place)?.batches ?? 0;
        standing.set(place, { batches: Math.min(known, answer.nextBatch), segment });
        held.set(key, { lease: answer.lease, segment, place, sent: answer.chainBatch });
      } else if (current !== undefined && action === "send") {
        const total = totalBatches(planOf(history, current.segment));
        const count = Math.min(amount, total - current.sent);
        const heads = headsOf(history, current.segment).slice(32 * current.sent, 32 * (current.sent + count));
        recordWindow(records, { ...current.segment, lease: current.lease, firstBatch: current.sent, heads });
        current.sent += count;
      } else if (current !== undefined) {
        // Mostly of batches that were sent.
        const batch = amount === 8 ? amount : Math.min(amount, Math.max(0, current.sent - 1));
        const head = headsOf(history, current.segment).slice(32 * batch, 32 * batch + 32);
        const known = records.cursor(placeOf(current.place))?.acknowledged ?? 0;
        const all = acknowledge(records, {
          epoch,
          rank,
          lease: current.lease,
          batch,
          head,
          checkpoint: amount % 2 === 0,
          at,
        });
        if (all > known) standing.set(current.place, { batches: all, segment: current.segment });
      }
    } catch (error) {
      if (!(error instanceof DataStreamError)) throw error;
    }
  }
  return new Map([...standing].map(([place, { batches }]) => [place, batches]));
}

function takeBack(
  standing: Map<string, { batches: number; segment: Segment }>,
  { epoch, startIndex }: Segment,
): void {
  if (startIndex >= COUNT) return;
  for (const [place, { batches, segment }] of standing) {
    if (segment.epoch !== epoch) continue;
    const whole = Math.floor((startIndex - segment.startIndex) / (BATCH * segment.worldSize));
    standing.set(place, { batches: Math.min(batches, Math.max(0, whole)), segment });
  }
}

function placeOf(place: string): { generation: number; epoch: number; rank: number } {
  const [generation, epoch, rank] = place.split(",").map(Number) as [number, number, number];
  return { generation, epoch, rank };
}

function parametersOf({ mode, tail, seed, processingHash }: History): StreamParameters {
  return {
    datasetId: "7d1e5b7c-22a4-4b58-9a39-5b1d0a4f7c11",
    contentHash: blake3.hash(manifest),
    schemaHash: blake3.hash(Uint8Array.of()),
    mode,
    seed,
    ...(mode === "block" && { block: { blockSize: 4, lanes: 3, blocksPerGroup: 2 } }),
    batchSize: BATCH,
    tail,
    batchHash: "framed",
    processingHash,
  };
}

function planOf(
  { tail }: History,
  { worldSize, rank, startIndex }: Segment,
): Parameters<typeof totalBatches>[0] {
  return { count: COUNT, batchSize: BATCH, worldSize, rank, start: startIndex, tail };
}

function headsOf(history: History, segment: Segment): Uint8Array {
  const parameters = parametersOf(history);
  const { mode, contentHash, seed, block } = parameters;
  const order = createOrder({
    mode,
    count: COUNT,
    contentHash,
    seed,
    epoch: segment.epoch,
    ...(block && { block }),
  });
  const plan = planOf(history, segment);
  const transcript = Transcript.start({ parameters, ...segment }, blake3);
  const heads = Array.from({ length: totalBatches(plan) }, (_, index) => {
    const indices = batchPositions(plan, index).positions.map((position) => order.itemAt(position));
    return transcript.advance(
      index,
      indices,
      indices.map((i) => itemHashes[i] as Uint8Array),
    );
  });
  return new Uint8Array(Buffer.concat(heads));
}

import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import {
  mixBatches,
  type MixedBatch,
  type MixedStream,
  type MixOptions,
  type MixPosition,
} from "../../client/index.ts";
import { fetchSource, type BatchSource } from "../../client/stream/source.ts";
import type { Blake3 } from "../../core/ports.ts";
import { Mixing } from "../../core/stream/mixing.ts";
import { loadKernels } from "../../kernels/index.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { GatewayDouble, someFiles } from "./double.ts";

let blake3: Blake3;
beforeAll(async () => {
  ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
});

const RETRY = { attempts: 3, firstDelayMs: 0, maxDelayMs: 0 };
const BATCH = 2;

interface Part {
  readonly files: number;
  readonly weight: number;
  readonly epochs?: number;
  readonly worldSize?: number;
  readonly rank?: number;
  readonly tail?: "short" | "drop_last" | "pad";
  readonly source?: BatchSource;
}

interface MixedPart extends MixedStream {
  readonly double: GatewayDouble;
}

function partOf({ files, weight, ...options }: Part, salt: number): MixedPart {
  const double = new GatewayDouble(someFiles(files, salt), blake3);
  const { fetch } = double;
  const client = new DataStreamClient({
    gateway: `http://double-${salt}.test`,
    accessToken: "token",
    fetch,
    retry: RETRY,
  });
  const shuffled = { dataset: "letters", batchSize: BATCH, shuffle: true, seed: salt, retry: RETRY };
  return { client, weight, double, options: { ...shuffled, ...options } };
}

const partsOf = (parts: readonly Part[]): MixedPart[] => parts.map(partOf);

async function collect(streams: readonly MixedStream[], options: MixOptions = {}): Promise<MixedBatch[]> {
  const batches: MixedBatch[] = [];
  for await (const batch of mixBatches(streams, options)) batches.push(batch);
  return batches;
}

const nameOf = ({ stream, batch }: MixedBatch): string => `${stream}:${batch.epoch}/${batch.index}`;
/** The items themselves, by stream. */
const itemsOf = ({ stream, batch }: MixedBatch): string[] =>
  batch.indices.map((index) => `${stream}:${batch.epoch}:${index}`);
const stored = (position: MixPosition): MixPosition => JSON.parse(JSON.stringify(position)) as MixPosition;

const parts = fc.array(
  fc.record({
    files: fc.integer({ min: 2, max: 14 }),
    weight: fc.integer({ min: 1, max: 4 }),
    epochs: fc.integer({ min: 1, max: 3 }),
  }),
  { minLength: 1, maxLength: 3 },
);
const policies = fc.constantFrom("stop" as const, "repeat" as const);

describe("a mixture", () => {
  test("takes whole batches of its streams in the order of the weights, until one is at its end", async () => {
    const streams = partsOf([
      { files: 12, weight: 2 },
      { files: 20, weight: 1 },
    ]);
    const batches = await collect(streams);
    expect(batches.map(nameOf)).toEqual([
      "0:0/0",
      "1:0/0",
      "0:0/1",
      "0:0/2",
      "1:0/1",
      "0:0/3",
      "0:0/4",
      "1:0/2",
      "0:0/5",
    ]);
    expect(batches.map(({ index }) => index)).toEqual(batches.map((_, i) => i));
    expect(batches.map(({ isLast }) => isLast)).toEqual(batches.map((_, i) => i === 8));
    expect(new Set(batches.map(({ totalBatches }) => totalBatches))).toEqual(new Set([9]));
    for (const { batch, stream } of batches)
      for (const [i, index] of batch.indices.entries())
        expect(batch.items[i]).toEqual(streams[stream]?.double.version.files[index]?.bytes);
  });

  test("repeats what is at its end, with epochs of their own, until all are through", async () => {
    const batches = await collect(
      partsOf([
        { files: 4, weight: 1 },
        { files: 12, weight: 1 },
      ]),
      { exhausted: "repeat" },
    );
    expect(batches.map(nameOf)).toEqual(
      [0, 1, 2, 3, 4, 5].flatMap((i) => [`0:${Math.floor(i / 2)}/${i % 2}`, `1:0/${i}`]),
    );
  });

  test("has the same batches whatever it is interrupted by, from one position", async () => {
    await fc.assert(
      fc.asyncProperty(
        parts,
        policies,
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 4 }),
        async (each, exhausted, legs) => {
          const whole = (await collect(partsOf(each), { exhausted })).map(nameOf);
          const seen: string[] = [];
          let position: MixPosition | undefined;
          for (const leg of [...legs, Number.POSITIVE_INFINITY]) {
            let taken = 0;
            const options: MixOptions = { exhausted, ...(position && { position: stored(position) }) };
            for await (const batch of mixBatches(partsOf(each), options)) {
              expect(batch.index).toBe(seen.length);
              expect(batch.totalBatches).toBe(whole.length);
              seen.push(nameOf(batch));
              position = batch.position;
              if (++taken === leg) break;
            }
          }
          expect(seen).toEqual(whole);
        },
      ),
      { numRuns: 60 },
    );
  });

  test("ends by its policy, in proportion up to there", async () => {
    await fc.assert(
      fc.asyncProperty(parts, policies, async (each, exhausted) => {
        const batches = await collect(partsOf(each), { exhausted });
        const mixing = new Mixing(each.map(({ weight }) => weight));
        const counts = each.map((_, i) => batches.filter(({ stream }) => stream === i).length);
        expect(counts).toEqual(each.map((_, i) => mixing.countBefore(i, batches.length)));
        const own = each.map(({ files, epochs }) => Math.ceil(files / BATCH) * epochs);
        if (exhausted === "stop") {
          expect(counts.every((count, i) => count <= (own[i] as number))).toBe(true);
          const { source } = mixing.at(batches.length);
          expect(counts[source]).toBe(own[source]);
        } else {
          expect(counts.every((count, i) => count >= (own[i] as number))).toBe(true);
          const last = batches.at(-1)?.stream as number;
          expect(counts[last]).toBe(own[last]);
        }
        for (const [i, { files }] of each.entries()) {
          const perEpoch = Math.ceil(files / BATCH);
          const names = batches.filter(({ stream }) => stream === i).map(nameOf);
          expect(names).toEqual(names.map((_, n) => `${i}:${Math.floor(n / perEpoch)}/${n % perEpoch}`));
        }
      }),
      { numRuns: 60 },
    );
  });

  test("keeps ranks in step, and goes on at another world size with each item once", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom("drop_last" as const, "pad" as const),
        async (before, after, leaveAfter, tail) => {
          const ranks = (worldSize: number): MixedPart[][] =>
            Array.from({ length: worldSize }, (_, rank) =>
              partsOf([
                { files: 24, weight: 2, worldSize, rank, tail },
                { files: 12, weight: 1, worldSize, rank, tail },
              ]),
            );
          const seen: string[] = [];
          const sources: number[][] = [];
          const positions = new Set<string>();
          for (const streams of ranks(before)) {
            const order: number[] = [];
            let last: MixPosition | undefined;
            for await (const batch of mixBatches(streams)) {
              seen.push(...itemsOf(batch).slice(0, batch.batch.items.length - batch.batch.paddedItems));
              order.push(batch.stream);
              last = batch.position;
              if (order.length === leaveAfter) break;
            }
            sources.push(order);
            positions.add(JSON.stringify(last));
          }
          expect(new Set(sources.map(String)).size).toBe(1);
          expect(positions.size).toBe(1);
          const position = JSON.parse([...positions][0] as string) as MixPosition;
          for (const streams of ranks(after))
            for (const batch of await collect(streams, { position }))
              seen.push(...itemsOf(batch).slice(0, batch.batch.items.length - batch.batch.paddedItems));
          expect(new Set(seen).size).toBe(seen.length);
        },
      ),
      { numRuns: 25 },
    );
  });

  test("acknowledges each stream as far as it was used", async () => {
    const streams = partsOf([
      { files: 12, weight: 2 },
      { files: 20, weight: 1 },
    ]);
    await collect(streams);
    const last = streams.map(({ double }) => double.acknowledgements.at(-1)?.batchIndex);
    expect(last).toEqual([5n, 2n]);

    const left = partsOf([
      { files: 12, weight: 1 },
      { files: 20, weight: 1 },
    ]);
    for await (const { batch, index } of mixBatches(left, { acknowledge: "manual" }))
      if (index === 3) {
        await batch.acknowledge({ checkpoint: true });
        break;
      }
    expect(left.map(({ double }) => double.acknowledgements.length)).toEqual([0, 1]);
  });

  test("left early, gives back what it received ahead, and gives up every request", async () => {
    const held = new Set<BatchResponse>();
    const signals: AbortSignal[] = [];
    const source: BatchSource = {
      async open(request, context) {
        signals.push(context.signal);
        const messages = await fetchSource.open(request, context);
        return (async function* () {
          for (;;) {
            const next = await messages.next();
            if (next.done === true) return next.value;
            held.add(next.value);
            yield next.value;
          }
        })();
      },
      discard: (message) => expect(held.delete(message)).toBe(true),
    };
    for (const leaveAt of [0, 1, 4, 8]) {
      const streams = partsOf([
        { files: 12, weight: 2, source },
        { files: 20, weight: 1, source },
      ]);
      for await (const { batch, index } of mixBatches(streams)) {
        held.delete(batch.message);
        if (index === leaveAt) break;
      }
      expect(held.size).toBe(0);
    }
    expect(signals).toHaveLength(8);
    expect(signals.every(({ aborted }) => aborted)).toBe(true);
  });

  test("ends with the error of any of its streams, when that one's turn comes", async () => {
    const streams = partsOf([
      { files: 12, weight: 1 },
      { files: 12, weight: 1 },
    ]);
    const [, liar] = streams as [MixedPart, MixedPart];
    liar.double.lies.batch = (batch) => {
      if (batch.batchIndex === 1n) batch.totalBatches += 1n;
    };
    const seen: string[] = [];
    const streaming = (async () => {
      for await (const batch of mixBatches(streams)) seen.push(nameOf(batch));
    })();
    await expect(streaming).rejects.toMatchObject({ mismatch: { subject: "total batches" } });
    expect(seen).toEqual(["0:0/0", "1:0/0", "0:0/1"]);
  });

  test("ends with canceled when its signal aborts", async () => {
    const aborter = new AbortController();
    const streaming = (async () => {
      for await (const { index } of mixBatches(partsOf([{ files: 40, weight: 1 }]), {
        signal: aborter.signal,
      }))
        if (index === 2) aborter.abort();
    })();
    await expect(streaming).rejects.toMatchObject({ code: "canceled" });
  });

  test("of streams that do not go together, or at another's position, is refused before anything is asked for", async () => {
    const two = [
      { files: 12, weight: 2 },
      { files: 12, weight: 1 },
    ];
    const position = (await collect(partsOf(two))).at(3)?.position as MixPosition;
    const wrong: [readonly Part[], MixOptions, string][] = [
      [[{ files: 12, weight: 0 }], {}, "weights"],
      [[], {}, "weights"],
      [
        [
          { files: 12, weight: 1 },
          { files: 12, weight: 1, worldSize: 2, tail: "pad" },
        ],
        {},
        "worldSize",
      ],
      [[{ files: 12, weight: 1, worldSize: 2 }], {}, "tail"],
      [[{ files: 3, weight: 1, worldSize: 2, tail: "drop_last" }], {}, "batchSize"],
      [
        [
          { files: 12, weight: 1 },
          { files: 12, weight: 2 },
        ],
        { position },
        "position",
      ],
      [[{ files: 12, weight: 2 }], { position }, "position"],
      [two, { position: { ...position, position: -1 } }, "position"],
      [
        [
          { files: 2, weight: 2 },
          { files: 12, weight: 1 },
        ],
        { position },
        "position",
      ],
    ];
    for (const [each, options, field] of wrong) {
      const streams = partsOf(each);
      await expect(collect(streams, options)).rejects.toMatchObject({
        code: "invalid_argument",
        details: { field },
      });
      expect(streams.flatMap(({ double }) => double.requests)).toEqual([]);
    }
  });
});

/** The next epoch is asked for while the consumer still has batches of the one before. */
import { beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import type { Batch } from "../../client/stream/batch.ts";
import type { StreamOptions } from "../../client/stream/options.ts";
import { fetchSource, type BatchSource } from "../../client/stream/source.ts";
import type { Blake3 } from "../../core/ports.ts";
import { loadKernels } from "../../kernels/index.ts";
import { GatewayDouble, someFiles } from "./double.ts";

let blake3: Blake3;
beforeAll(async () => {
  ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
});

const RETRY = { attempts: 3, firstDelayMs: 0, maxDelayMs: 0 };
/** Ten batches an epoch. */
const OPTIONS: StreamOptions = { dataset: "letters", batchSize: 4, retry: RETRY };

interface Watched {
  readonly double: GatewayDouble;
  readonly source: BatchSource;
  /** Batches by epoch that the client read from the source. */
  readonly read: Map<number, number>;
  /** Resolves when the epoch is asked for. */
  readonly askedFor: (epoch: number) => Promise<void>;
  /** Resolves when so many batches of the epoch were read. */
  readonly hasRead: (epoch: number, batches: number) => Promise<void>;
  readonly stream: (options: Partial<StreamOptions>) => AsyncGenerator<Batch, void, undefined>;
}

function watched(): Watched {
  const double = new GatewayDouble(someFiles(40), blake3);
  const { fetch } = double;
  const client = new DataStreamClient({ gateway: "http://double.test", accessToken: "token", fetch });
  const asked = new Set<number>();
  const read = new Map<number, number>();
  const waiting = new Set<() => void>();
  const until = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      const look = (): void => {
        if (!condition()) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
      look();
    });
  const source: BatchSource = {
    async open(request, context) {
      asked.add(request.epoch);
      for (const look of waiting) look();
      const messages = await fetchSource.open(request, context);
      return (async function* () {
        try {
          for (;;) {
            const next = await messages.next();
            if (next.done === true) return next.value;
            read.set(request.epoch, (read.get(request.epoch) ?? 0) + 1);
            for (const look of waiting) look();
            yield next.value;
          }
        } finally {
          await messages.return({ continuation: undefined });
        }
      })();
    },
  };
  return {
    double,
    source,
    read,
    askedFor: (epoch) => until(() => asked.has(epoch)),
    hasRead: (epoch, batches) => until(() => (read.get(epoch) ?? 0) >= batches),
    stream: (options) => client.streamBatches({ ...OPTIONS, source, ...options }),
  };
}

const nameOf = ({ epoch, index }: Batch): string => `${epoch}/${index}`;
const EPOCHS_0_TO_2 = Array.from({ length: 30 }, (_, i) => `${Math.floor(i / 10)}/${i % 10}`);

describe("a stream of several epochs", () => {
  test("asks for the next one when the last message is there, before the consumer takes the last batches", async () => {
    const { askedFor, hasRead, read, stream } = watched();
    const seen: string[] = [];
    for await (const batch of stream({ epochs: 2, prefetchBatches: 2 })) {
      seen.push(nameOf(batch));
      // The consumer works on batch 7; 8 and 9, the last one, are ready.
      if (nameOf(batch) === "0/7") await askedFor(1);
      if (nameOf(batch) === "0/8") await hasRead(1, 1);
      if (nameOf(batch) === "0/9") {
        await hasRead(1, 2);
        // No more than is ready for the consumer, and one that waits for its place.
        expect(read.get(1)).toBeLessThanOrEqual(3);
      }
    }
    expect(seen).toEqual(EPOCHS_0_TO_2.slice(0, 20));
  });

  test("does not ask before, nor for more than it is to stream", async () => {
    const { double, stream } = watched();
    const epochs: number[][] = [];
    for await (const batch of stream({ epochs: 2, prefetchBatches: 1 })) {
      if (nameOf(batch) === "0/6") epochs.push(double.requests.map(({ epoch }) => epoch));
    }
    expect(epochs).toEqual([[0]]);
    expect(double.requests.map(({ epoch }) => epoch)).toEqual([0, 1]);
  });

  test("acknowledges each epoch under its own lease", async () => {
    const { askedFor, double, stream } = watched();
    for await (const batch of stream({ epochs: 3 })) {
      if (batch.index === 7 && batch.epoch < 2) await askedFor(batch.epoch + 1);
    }
    const last = new Map(double.acknowledgements.map((each) => [each.epoch, each]));
    expect([...last.values()].map(({ epoch, lease, batchIndex }) => [epoch, lease, batchIndex])).toEqual([
      [0, 1n, 9n],
      [1, 2n, 9n],
      [2, 3n, 9n],
    ]);
  });

  test.each(["break", "continue", "overtaken"] as const)(
    "joins its epochs when what was asked for ahead ends in %s",
    async (how) => {
      const { askedFor, double, stream } = watched();
      // Request 2 breaks off before it says anything; so 3 may be overtaken by it.
      double.lies.endBefore = (batch, request) => {
        if (how === "overtaken" && request === 2) return "break";
        return request === (how === "overtaken" ? 3 : 2) && batch <= 4 ? how : undefined;
      };
      const seen: string[] = [];
      for await (const batch of stream({ epochs: 3 })) {
        seen.push(nameOf(batch));
        if (nameOf(batch) === "0/7") await askedFor(1);
      }
      expect(seen).toEqual(EPOCHS_0_TO_2);
    },
  );

  test("delivers the whole epoch before an error of the next one", async () => {
    const { askedFor, double, stream } = watched();
    double.lies.batch = (batch, request) => {
      if (request === 2) batch.totalBatches = 3n;
    };
    const seen: string[] = [];
    const streaming = (async () => {
      for await (const batch of stream({ epochs: 2 })) {
        seen.push(nameOf(batch));
        if (nameOf(batch) === "0/7") await askedFor(1);
      }
    })();
    await expect(streaming).rejects.toMatchObject({ mismatch: { subject: "total batches" } });
    expect(seen).toEqual(EPOCHS_0_TO_2.slice(0, 10));
  });

  test("asks for a last batch again that does not fit, and once for the epoch behind it", async () => {
    const { double, stream } = watched();
    double.lies.batch = (batch, request) => {
      if (request === 1 && batch.isLast) (batch.items[0] as Uint8Array).fill(0);
    };
    const seen: string[] = [];
    for await (const batch of stream({ epochs: 2 })) seen.push(nameOf(batch));
    expect(seen).toEqual(EPOCHS_0_TO_2.slice(0, 20));
    const asked = double.requests.map(({ epoch, resumeBatchIndex }) => `${epoch}/${resumeBatchIndex}`);
    expect(asked.toSorted((a, b) => a.localeCompare(b))).toEqual(["0/0", "0/9", "1/0"]);
  });

  test("left early, gives up both responses", async () => {
    const { askedFor, double, source, stream } = watched();
    const signals: AbortSignal[] = [];
    const open: BatchSource["open"] = (request, context) => {
      signals.push(context.signal);
      return source.open(request, context);
    };
    for await (const batch of stream({ epochs: 2, source: { open } })) {
      if (nameOf(batch) !== "0/7") continue;
      await askedFor(1);
      break;
    }
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    expect(double.requests).toHaveLength(2);
  });
});

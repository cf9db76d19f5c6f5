import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../core/bytes.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { expectBatches, expectedBatches } from "./expected.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "./fixture.ts";
import { acknowledge, ackOf, readAll, type StreamInit, WireError, WireStream } from "./wire.ts";

const ITEMS = 61;
const BATCH = 2;
let gateway: StreamGateway;
let dataset: TestDataset;
let base: { datasetId: string; accessToken: string; batchSize: number; shuffle: boolean; seed: bigint };
beforeAll(async () => {
  gateway = await startStreamGateway();
  dataset = await addDataset(
    gateway,
    noiseFiles(ITEMS, (i) => 900 + i),
  );
  const { token } = await dataset.token();
  base = { datasetId: dataset.id, accessToken: token, batchSize: BATCH, shuffle: true, seed: 11n };
});
afterAll(() => gateway.stop());

/**
 * One rank of a training run: what it consumed since its last checkpoint is lost when it is killed. It knows nothing
 * of the gateway but what it was sent.
 */
class Rank {
  readonly init: StreamInit;
  readonly #counted: Map<number, number>;
  readonly #pending: number[] = [];
  stream: WireStream | undefined;
  last: BatchResponse | undefined;
  /** Next batch by the last checkpoint, and the segment it counts in. */
  checkpoint = { batch: 0, start: 0 };

  constructor(init: StreamInit, counted: Map<number, number>) {
    this.init = init;
    this.#counted = counted;
  }

  async attach(position?: { readonly batch: number; readonly start: number }): Promise<void> {
    this.stream = await WireStream.open(gateway.url, {
      ...this.init,
      ...(position && { startIndex: BigInt(position.start), resumeBatchIndex: BigInt(position.batch) }),
    });
  }

  async consume(): Promise<BatchResponse | undefined> {
    const batch = await this.stream?.next();
    if (batch === undefined) return undefined;
    this.last = batch;
    batch.itemIndices.forEach((index) => this.#pending.push(Number(index)));
    return batch;
  }

  async ack(checkpoint = false): Promise<void> {
    if (this.last !== undefined) await acknowledge(gateway.url, ackOf(this.init, this.last, checkpoint));
  }

  /** Stores a checkpoint; from now on what was consumed counts. */
  commit(): void {
    for (const index of this.#pending.splice(0))
      this.#counted.set(index, (this.#counted.get(index) ?? 0) + 1);
    if (this.last !== undefined)
      this.checkpoint = { batch: Number(this.last.batchIndex) + 1, start: Number(this.last.startIndex) };
  }

  kill(): void {
    this.#pending.length = 0;
    this.stream?.cut();
    this.stream = undefined;
    this.last = undefined;
  }
}

function exactlyOnce(counted: Map<number, number>, items = ITEMS): void {
  expect([...counted.values()].filter((count) => count !== 1)).toEqual([]);
  expect(counted.size).toBe(items);
}

const lastHead = (init: Parameters<typeof expectedBatches>[1]): string =>
  toHex(expectedBatches(dataset, init).at(-1)?.head as Uint8Array);

describe("one rank, killed at every batch boundary", () => {
  const total = Math.ceil(ITEMS / BATCH);
  const unbroken = { batchSize: BATCH, mode: "full", seed: 11n } as const;

  test("between send and acknowledgement, going on by its own checkpoint", async () => {
    const counted = new Map<number, number>();
    const rank = new Rank({ ...base, streamId: randomUUID() }, counted);
    await rank.attach();
    for (let done = 0; done < total; done++) {
      await rank.consume(); // sent, and lost
      rank.kill();
      await rank.attach(rank.checkpoint);
      const batch = (await rank.consume()) as BatchResponse;
      expectBatches(dataset, unbroken, [batch], done);
      rank.commit(); // stored, never acknowledged
      rank.kill();
      await rank.attach(rank.checkpoint);
    }
    expect(await rank.consume()).toBeUndefined();
    exactlyOnce(counted);
  });

  test("after acknowledgement, going on by the session's word", async () => {
    const counted = new Map<number, number>();
    const rank = new Rank({ ...base, streamId: randomUUID() }, counted);
    for (let done = 0; done < total; done++) {
      await rank.attach();
      const batch = (await rank.consume()) as BatchResponse;
      expectBatches(dataset, unbroken, [batch], done);
      expect(Number(batch.lease)).toBe(done + 1);
      rank.commit();
      await rank.ack();
      if (done === total - 1) expect(toHex(batch.transcriptHead)).toBe(lastHead(unbroken));
      rank.kill();
    }
    await rank.attach();
    expect(await rank.consume()).toBeUndefined();
    exactlyOnce(counted);
  });

  test("in the middle of a message", async () => {
    const counted = new Map<number, number>();
    const rank = new Rank({ ...base, streamId: randomUUID() }, counted);
    for (let done = 0; done < total; done += 3) {
      await rank.attach(rank.checkpoint);
      for (let i = done; i < Math.min(total, done + 3); i++) {
        expectBatches(dataset, unbroken, [(await rank.consume()) as BatchResponse], i);
        rank.commit();
      }
      if (done + 3 < total) await rank.stream?.nibble(5 + done * 7);
      rank.kill();
    }
    exactlyOnce(counted);
  });

  test("rewinding to an older checkpoint, and forward to where this session never was", async () => {
    const init = { ...base, streamId: randomUUID() };
    await readAll(gateway.url, { ...init, resumeBatchIndex: 20n });
    const rewound = await readAll(gateway.url, { ...init, resumeBatchIndex: 3n });
    expectBatches(dataset, unbroken, rewound.batches, 3);
    const elsewhere = await readAll(gateway.url, { ...init, streamId: randomUUID(), resumeBatchIndex: 29n });
    expectBatches(dataset, unbroken, elsewhere.batches, 29);
    expect(elsewhere.batches).toHaveLength(2);
  });
});

describe("four ranks, batches apart", () => {
  const world = (size: number, streamId: string): ((rank: number) => StreamInit) => {
    return (rank) => ({ ...base, streamId, rank, worldSize: size });
  };

  /** Four ranks that consumed `steps[r]` batches each and all stored their checkpoint at `common`. */
  async function run(
    streamId: string,
    counted: Map<number, number>,
    steps: number[],
    common: number,
  ): Promise<Rank[]> {
    const ranks = steps.map((_, rank) => new Rank(world(4, streamId)(rank), counted));
    await Promise.all(
      ranks.map(async (rank, r) => {
        await rank.attach();
        for (let step = 1; step <= (steps[r] as number); step++) {
          await rank.consume();
          if (step === common) rank.commit();
          await rank.ack(step === common);
        }
      }),
    );
    return ranks;
  }

  test.each([
    [[4, 5, 6, 4], 3],
    [[2, 1, 4, 3], 1],
    [[1, 2, 3, 0], 0],
  ])("at %j, go on as four", async (steps, common) => {
    const counted = new Map<number, number>();
    const ranks = await run(randomUUID(), counted, steps, common);
    for (const rank of ranks) {
      rank.kill();
      await rank.attach(rank.checkpoint);
    }
    for (const [r, rank] of ranks.entries()) {
      let last: BatchResponse | undefined;
      for (let batch = await rank.consume(); batch !== undefined; batch = await rank.consume()) last = batch;
      rank.commit();
      const head = lastHead({ batchSize: BATCH, mode: "full", seed: 11n, rank: r, worldSize: 4 });
      expect(toHex(last?.transcriptHead as Uint8Array)).toBe(head);
    }
    exactlyOnce(counted);
  });

  test.each([
    [[4, 5, 6, 4], 3],
    [[2, 1, 4, 3], 1],
    [[7, 7, 8, 6], 6],
  ])("at %j, go on as three", async (steps, common) => {
    const streamId = randomUUID();
    const counted = new Map<number, number>();
    const old = await run(streamId, counted, steps, common);
    const stale = old.map((rank) => ackOf(rank.init, rank.last as BatchResponse));
    const start = common * BATCH * 4;

    const ranks = [0, 1, 2].map((rank) => new Rank(world(3, streamId)(rank), counted));
    for (const [r, rank] of ranks.entries()) {
      await rank.attach();
      const batches: BatchResponse[] = [];
      for (let batch = await rank.consume(); batch !== undefined; batch = await rank.consume())
        batches.push(batch);
      expectBatches(
        dataset,
        { batchSize: BATCH, mode: "full", seed: 11n, rank: r, worldSize: 3, startIndex: start },
        batches,
      );
      rank.commit();
    }
    exactlyOnce(counted);
    for (const ack of stale)
      await expect(acknowledge(gateway.url, ack)).rejects.toMatchObject({ code: "failed_precondition" });
    for (const rank of old) rank.kill();
  });

  test("go on as three by the consumer's own position", async () => {
    const streamId = randomUUID();
    const counted = new Map<number, number>();
    const old = await run(streamId, counted, [3, 4, 5, 3], 2);
    for (const rank of old) rank.kill();
    const start = 2 * BATCH * 4;
    for (const r of [0, 1, 2]) {
      const rank = new Rank(world(3, streamId)(r), counted);
      await rank.attach({ batch: 0, start });
      while ((await rank.consume()) !== undefined);
      rank.commit();
    }
    exactlyOnce(counted);
  });
});

describe("leases", () => {
  test("the older response ends, and its acknowledgements are refused", async () => {
    const many = await addDataset(
      gateway,
      noiseFiles(80, () => 700_000),
      { chunkBytes: 1024 * 1024 },
    );
    const { token } = await many.token();
    const init = { datasetId: many.id, accessToken: token, batchSize: 2, streamId: randomUUID() };
    const old = await WireStream.open(gateway.url, init);
    const first = (await old.next()) as BatchResponse;
    const current = await WireStream.open(gateway.url, init);
    const again = (await current.next()) as BatchResponse;
    expect(again.lease).toBeGreaterThan(first.lease);
    expect(again.transcriptHead).toEqual(first.transcriptHead);
    await expect(acknowledge(gateway.url, ackOf(init, first))).rejects.toBeInstanceOf(WireError);
    expect((await acknowledge(gateway.url, ackOf(init, again))).acknowledgedBatches).toBe(1n);
    while ((await old.next()) !== undefined);
    expect(old.end).toMatchObject({ code: "aborted", continuation: undefined });
    current.cut();
  });

  test("survive eviction of the session's object and a restart of the gateway", async () => {
    const init = { ...base, streamId: randomUUID(), worldSize: 2, rank: 1 };
    const unbroken = { batchSize: BATCH, mode: "full", seed: 11n, worldSize: 2, rank: 1 } as const;
    const stream = await WireStream.open(gateway.url, init);
    const received: BatchResponse[] = [];
    for (let i = 0; i < 5; i++) received.push((await stream.next()) as BatchResponse);
    stream.cut();
    const name = JSON.stringify([gateway.owner.userId, dataset.id, init.streamId]);
    await gateway.evict("StreamSession", name);
    await acknowledge(gateway.url, ackOf(init, received[2] as BatchResponse));
    await gateway.restart();
    await acknowledge(gateway.url, ackOf(init, received[4] as BatchResponse));
    await gateway.evict("StreamSession", name);
    const { batches } = await readAll(gateway.url, init);
    expect(batches[0]?.lease).toBe(2n);
    expectBatches(dataset, unbroken, [...received, ...batches]);
    expect(toHex(batches.at(-1)?.transcriptHead as Uint8Array)).toBe(lastHead(unbroken));
  });
});

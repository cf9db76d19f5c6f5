import { describe, expect, test } from "vitest";
import { acknowledge, attach, CHECKPOINTS_KEPT, recordWindow } from "../../core/stream/session.ts";
import type { SessionRecords } from "../../core/stream/session-records.ts";
import { MemoryRecords, sqliteRecords } from "./records.ts";
import { ack, codeOf, headOf, headsOf, request, send } from "./session-calls.ts";

describe.each([
  ["in memory", () => new MemoryRecords()],
  ["in SQLite", () => sqliteRecords().records],
])("a session %s", (_, create: () => SessionRecords) => {
  test("goes on after the last acknowledged batch, or where the consumer says", () => {
    const records = create();
    const first = send(records, {}, 6);
    expect(first.attachment).toMatchObject({ lease: 1, nextBatch: 0, chainBatch: 0, startIndex: 0 });
    expect(first.attachment.chainHead).toBeUndefined();
    expect(ack(records, first, 2)).toBe(3);
    const second = attach(records, request());
    expect(second).toMatchObject({ lease: 2, nextBatch: 3, chainBatch: 3 });
    expect(second.chainHead).toEqual(headOf(first.segment, 2));
    expect(attach(records, request({ resumeBatch: 1 }))).toMatchObject({ lease: 3, nextBatch: 1 });
    expect(attach(records, request())).toMatchObject({ lease: 4, nextBatch: 1 });
    expect(attach(records, request({ resumeBatch: 9 }))).toMatchObject({ nextBatch: 9, chainBatch: 6 });
  });

  test("does not take a batch for done that a client received ahead of its consumer", () => {
    const records = create();
    ack(records, send(records, { worldSize: 2 }, 8), 1);
    ack(records, send(records, { worldSize: 2, rank: 1 }, 8), 7);
    // The connection broke, and the client goes on with what it has not received.
    expect(attach(records, request({ worldSize: 2, resumeBatch: 8 })).nextBatch).toBe(8);
    // Its process dies before the consumer is done with what came before.
    expect(attach(records, request({ worldSize: 2 })).nextBatch).toBe(2);
    attach(records, request({ worldSize: 2, resumeBatch: 8 }));
    expect(attach(records, request({ worldSize: 1 })).startIndex).toBe(2 * 5 * 2);
  });

  test("names the parameter that differs", () => {
    const records = create();
    attach(records, request());
    const differing = request({ parameters: { batch_size: 5, mode: "block", seed: "7" } });
    expect(() => attach(records, differing)).toThrow(/^shuffle_mode: /);
    expect(codeOf(() => attach(records, differing))).toBe("failed_precondition");
    expect(attach(records, request()).lease).toBe(2);
  });

  test("lets only the newest lease send and acknowledge", () => {
    const records = create();
    const old = send(records, {}, 3);
    const current = send(records, {}, 3);
    expect(codeOf(() => ack(records, old, 0))).toBe("failed_precondition");
    const window = {
      ...old.segment,
      lease: old.attachment.lease,
      firstBatch: 3,
      heads: headsOf(old.segment, 3, 1),
    };
    expect(codeOf(() => recordWindow(records, window))).toBe("aborted");
    expect(ack(records, current, 0)).toBe(1);
  });

  test("checks every acknowledgement against what was sent", () => {
    const records = create();
    const stream = send(records, {}, 3);
    expect(codeOf(() => ack(records, stream, 3))).toBe("invalid_argument");
    const lie = {
      epoch: 0,
      rank: 0,
      lease: 1,
      batch: 1,
      head: headOf(stream.segment, 2),
      checkpoint: false,
      at: 0,
    };
    expect(codeOf(() => acknowledge(records, lie))).toBe("data_loss");
    expect(() => acknowledge(records, lie)).toThrow(/batch 1 /);
    expect(ack(records, stream, 2)).toBe(3);
    expect(ack(records, stream, 0)).toBe(3);
    expect(attach(records, request()).nextBatch).toBe(3);
  });

  test("refuses a stream id that streamed nothing, and batches past the end", () => {
    const records = create();
    const early = {
      epoch: 0,
      rank: 0,
      lease: 1,
      batch: 0,
      head: new Uint8Array(32),
      checkpoint: false,
      at: 0,
    };
    expect(codeOf(() => acknowledge(records, early))).toBe("failed_precondition");
    expect(codeOf(() => attach(records, request({ resumeBatch: 21 })))).toBe("invalid_argument");
    expect(records.fixed()).toBeUndefined();
    expect(attach(records, request({ resumeBatch: 20 })).nextBatch).toBe(20);
  });

  test("refuses a window that does not continue, or differs from before", () => {
    const records = create();
    const { segment, attachment } = send(records, {}, 2);
    const gap = { ...segment, lease: attachment.lease, firstBatch: 3, heads: headsOf(segment, 3, 1) };
    expect(codeOf(() => recordWindow(records, gap))).toBe("internal");
    const other = { ...gap, firstBatch: 1, heads: headsOf(segment, 5, 2) };
    expect(() => recordWindow(records, other)).toThrow(/^Batch 1 /);
    expect(codeOf(() => recordWindow(records, other))).toBe("data_loss");
    expect(records.headCount(segment)).toBe(2);
  });

  test("starts a new world at the last checkpoint of all ranks", () => {
    const records = create();
    const ranks = [0, 1, 2, 3].map((rank) => send(records, { rank, worldSize: 4 }, 4));
    ranks.forEach((rank, i) => {
      ack(records, rank, 0, true);
      ack(records, rank, 1, i !== 2);
      if (i !== 3) ack(records, rank, 2, false);
    });
    const start = attach(records, request({ worldSize: 3 })).startIndex;
    expect(start).toBe(1 * 5 * 4);
    expect(attach(records, request({ worldSize: 3, rank: 2 })).startIndex).toBe(start);
    expect(codeOf(() => ack(records, ranks[0] as (typeof ranks)[0], 3))).toBe("failed_precondition");
  });

  test("starts a new world behind what all ranks acknowledged when there is no common checkpoint", () => {
    const records = create();
    const ranks = [0, 1].map((rank) => send(records, { rank, worldSize: 2 }, 6));
    ranks.forEach((rank, i) => ack(records, rank, 2 + i, i === 0));
    expect(attach(records, request({ worldSize: 1 })).startIndex).toBe(3 * 5 * 2);
    const untouched = create();
    ack(untouched, send(untouched, { worldSize: 2 }, 3), 2, true);
    expect(attach(untouched, request({ worldSize: 1 })).startIndex).toBe(0); // rank 1 never came
  });

  test("takes a position of the consumer over its own, for every rank", () => {
    const records = create();
    ack(records, send(records, { worldSize: 2 }, 5), 4);
    const there = attach(records, request({ worldSize: 3, startIndex: 40, resumeBatch: 0 }));
    expect(there).toMatchObject({ startIndex: 40, nextBatch: 0 });
    expect(attach(records, request({ worldSize: 3, startIndex: 40, rank: 1 })).startIndex).toBe(40);
    expect(attach(records, request({ worldSize: 3, startIndex: 60, rank: 1 })).startIndex).toBe(60);
    expect(attach(records, request({ worldSize: 2, startIndex: 0, resumeBatch: 5 }))).toMatchObject({
      startIndex: 0,
      nextBatch: 5,
      chainBatch: 5,
    });
  });

  test("keeps the epochs of a rank apart", () => {
    const records = create();
    const epoch0 = send(records, {}, 20);
    const epoch1 = send(records, { epoch: 1 }, 2);
    ack(records, epoch0, 19);
    ack(records, epoch1, 0);
    expect(attach(records, request()).nextBatch).toBe(20);
    expect(attach(records, request({ epoch: 1 })).nextBatch).toBe(1);
    // The new world goes on in epoch 1; of epoch 0 nothing is left.
    expect(attach(records, request({ epoch: 1, worldSize: 2 })).startIndex).toBe(5);
    expect(attach(records, request({ epoch: 0, worldSize: 2 })).startIndex).toBe(100);
  });

  test("takes acknowledgements of an epoch that a rank is past, also when the next one began anew", () => {
    const records = create();
    // An earlier run of this world had gone on in the middle of epoch 1.
    send(records, { epoch: 1, startIndex: 40, resumeBatch: 0 }, 1);
    const epoch0 = send(records, { resumeBatch: 0 }, 20);
    const epoch1 = send(records, { epoch: 1, resumeBatch: 0 }, 1);
    expect(epoch1.attachment.startIndex).toBe(0);
    expect(ack(records, epoch0, 19)).toBe(20);
    expect(ack(records, epoch1, 0)).toBe(1);
    expect(attach(records, request()).nextBatch).toBe(20);
    // Another world size takes both.
    attach(records, request({ epoch: 1, worldSize: 2 }));
    expect(codeOf(() => ack(records, epoch0, 19))).toBe("failed_precondition");
  });

  test("remembers only the last checkpoints", () => {
    const records = create();
    const place = { generation: 1, epoch: 0, rank: 0 };
    for (let batches = 1; batches <= CHECKPOINTS_KEPT + 9; batches++)
      records.addCheckpoint(place, batches, CHECKPOINTS_KEPT);
    const kept = records.checkpoints(1, 0).map(({ batches }) => batches);
    expect(kept).toHaveLength(CHECKPOINTS_KEPT);
    expect(kept[0]).toBe(10);
  });
});

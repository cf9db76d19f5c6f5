import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DataStreamError } from "../../core/errors.ts";
import { batchPositions, totalBatches, type TailPolicy } from "../../core/stream/batches.ts";
import {
  acknowledge,
  attach,
  CHECKPOINTS_KEPT,
  recordWindow,
  type AttachRequest,
  type Attachment,
} from "../../core/stream/session.ts";
import type { EpochStart, Segment, SessionRecords, StreamShape } from "../../core/stream/session-records.ts";
import { blake3 } from "../core/blake3.ts";
import { MemoryRecords, sqliteRecords } from "./records.ts";

/** Any function of the segment and the batch serves as a transcript, as long as it tells them apart. */
function headOf(segment: Segment, batch: number): Uint8Array {
  const { epoch, rank, worldSize, startIndex } = segment;
  return blake3.hash(new TextEncoder().encode(JSON.stringify([epoch, rank, worldSize, startIndex, batch])));
}

function headsOf(segment: Segment, first: number, count: number): Uint8Array {
  const heads = new Uint8Array(32 * count);
  for (let i = 0; i < count; i++) heads.set(headOf(segment, first + i), 32 * i);
  return heads;
}

const SHAPE: StreamShape = { count: 100, batchSize: 5, tail: "short" };

function request(fields: Partial<AttachRequest> = {}): AttachRequest {
  return {
    parameters: { batch_size: 5, mode: "full", seed: "7" },
    shape: SHAPE,
    identity: { userId: "user", streamId: "stream" },
    holder: { tokenId: "token", nodeId: null, at: 1_000 },
    epoch: 0,
    rank: 0,
    worldSize: 1,
    startIndex: 0,
    ...fields,
  };
}

/** Attaches and sends as many batches as told. */
function send(
  records: SessionRecords,
  fields: Partial<AttachRequest>,
  count: number,
): { attachment: Attachment; segment: Segment } {
  const asked = request(fields);
  const attachment = attach(records, asked);
  const { epoch, rank, worldSize } = asked;
  const segment = { epoch, rank, worldSize, startIndex: attachment.startIndex };
  const first = attachment.chainBatch;
  recordWindow(records, {
    ...segment,
    lease: attachment.lease,
    firstBatch: first,
    heads: headsOf(segment, first, attachment.nextBatch + count - first),
  });
  return { attachment, segment };
}

function ack(
  records: SessionRecords,
  { attachment, segment }: { attachment: Attachment; segment: Segment },
  batch: number,
  checkpoint = false,
): number {
  const { epoch, rank } = segment;
  return acknowledge(records, {
    epoch,
    rank,
    lease: attachment.lease,
    batch,
    head: headOf(segment, batch),
    checkpoint,
    at: 2_000,
  });
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof DataStreamError) return error.code;
    throw error;
  }
  return "ok";
}

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

describe("two implementations of the records", () => {
  const step = fc.record({
    action: fc.constantFrom("attach", "resume", "record", "ack", "checkpoint"),
    rank: fc.nat(3),
    worldSize: fc.integer({ min: 1, max: 3 }),
    epoch: fc.nat(1),
    startIndex: fc.constantFrom(0, 0, 0, 30),
    amount: fc.nat(6),
  });

  test("answer every sequence of calls alike, evicted or not", () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        fc.constantFrom<TailPolicy>("short", "drop_last", "pad"),
        (steps, tail) => {
          const memory = new MemoryRecords();
          const sqlite = sqliteRecords();
          const leases = new Map<string, { lease: number; segment: Segment; sent: number }>();
          for (const { action, rank, worldSize, epoch, startIndex, amount } of steps) {
            const both = <T>(run: (records: SessionRecords) => T): T | undefined => {
              const answers = [memory, sqlite.reopen()].map((records) => {
                try {
                  return { value: run(records) };
                } catch (error) {
                  if (!(error instanceof DataStreamError)) throw error;
                  return { refused: error.message };
                }
              });
              expect(answers[1]).toEqual(answers[0]);
              return answers[0]?.value;
            };
            const key = `${epoch}/${rank}`;
            const held = leases.get(key);
            if (action === "attach" || action === "resume") {
              if (rank >= worldSize) continue;
              const asked = request({
                rank,
                worldSize,
                epoch,
                startIndex,
                shape: { ...SHAPE, tail },
                ...(action === "resume" && { resumeBatch: amount }),
              });
              const answer = both((records) => attach(records, asked));
              if (answer === undefined) continue;
              const segment = { epoch, rank, worldSize, startIndex: answer.startIndex };
              leases.set(key, { lease: answer.lease, segment, sent: answer.chainBatch });
            } else if (held !== undefined && action === "record") {
              const heads = headsOf(held.segment, held.sent, amount);
              both((records) =>
                recordWindow(records, { ...held.segment, lease: held.lease, firstBatch: held.sent, heads }),
              );
              held.sent += amount;
            } else if (held !== undefined) {
              const head = headOf(held.segment, amount);
              both((records) =>
                acknowledge(records, {
                  epoch,
                  rank,
                  lease: held.lease,
                  batch: amount,
                  head,
                  checkpoint: action === "checkpoint",
                  at: 3_000,
                }),
              );
            }
          }
          sqlite.close();
        },
      ),
    );
  });
});

interface Rank {
  readonly attachment: Attachment;
  readonly segment: Segment;
  /** The batch that comes next. */
  next: number;
}

describe("a run of several ranks that crashes", () => {
  const event = fc.record({
    kind: fc.constantFrom("work", "work", "work", "work", "checkpoint", "crash", "world"),
    rank: fc.nat(3),
    worldSize: fc.integer({ min: 1, max: 4 }),
  });

  /**
   * The consumer: its ranks commit batches together, at checkpoints that all of them reached; whatever was
   * consumed since is undone by a crash. The session is not told where to go on: it has to know.
   */
  test("counts each item exactly once, whatever world it goes on with", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), fc.integer({ min: 0, max: 130 }), (events, count) => {
        const records: SessionRecords = sqliteRecords().records;
        const shape: StreamShape = { count, batchSize: 3, tail: "short" };
        const counted = Array<number>(count).fill(0);
        let world = { size: 2, start: 0 };
        let asked = 0; // the start that every request of the run names
        let ranks = open();
        let committed = 0; // global batches of this world whose items are counted

        function open(position: Partial<AttachRequest> = {}): Rank[] {
          return Array.from({ length: world.size }, (_, rank) => {
            const stream = send(
              records,
              { shape, rank, worldSize: world.size, startIndex: asked, ...position },
              0,
            );
            world = { ...world, start: stream.segment.startIndex };
            return { ...stream, next: stream.attachment.nextBatch };
          });
        }
        const plan = (rank: number): Parameters<typeof totalBatches>[0] => ({
          ...shape,
          worldSize: world.size,
          rank,
          start: world.start,
        });
        const work = (rank: number): void => {
          const state = ranks[rank];
          if (state === undefined || state.next >= totalBatches(plan(rank))) return;
          const { segment, attachment } = state;
          const heads = headsOf(segment, state.next, 1);
          recordWindow(records, { ...segment, lease: attachment.lease, firstBatch: state.next, heads });
          ack(records, state, state.next);
          state.next++;
        };
        /** All ranks reach the same batch, store what they have, and say so. */
        const checkpoint = (): void => {
          const target = Math.max(...ranks.map(({ next }) => next));
          ranks.forEach((state, rank) => {
            while (state.next < Math.min(target, totalBatches(plan(rank)))) work(rank);
            if (state.next > 0) ack(records, state, state.next - 1, true);
          });
          for (; committed < target; committed++)
            ranks.forEach((_, rank) => {
              if (committed >= totalBatches(plan(rank))) return;
              for (const position of batchPositions(plan(rank), committed).positions)
                counted[position] = (counted[position] ?? 0) + 1;
            });
        };
        const changeWorld = (size: number): void => {
          const before = world;
          world = { size, start: world.start };
          if (size === before.size) {
            // The same world goes on at the checkpoint, which the consumer knows.
            ranks = ranks.map((_, rank) => {
              const resumeBatch = Math.min(committed, totalBatches(plan(rank)));
              const stream = send(
                records,
                { shape, rank, worldSize: size, startIndex: world.start, resumeBatch },
                0,
              );
              return { ...stream, next: resumeBatch };
            });
            return;
          }
          const there = Math.min(count, before.start + committed * 3 * before.size);
          if (committed > 0) ranks = open();
          else {
            // Without a checkpoint the session would go by acknowledgements; this consumer lost what it had.
            asked = there;
            ranks = open({ resumeBatch: 0 });
          }
          expect(world.start).toBe(there);
          committed = 0;
        };

        for (const { kind, rank, worldSize } of events) {
          if (kind === "work") work(rank);
          else if (kind === "checkpoint") checkpoint();
          else if (kind === "crash") changeWorld(world.size);
          else changeWorld(worldSize);
        }
        while (ranks.some((state, rank) => state.next < totalBatches(plan(rank)))) {
          ranks.forEach((_, rank) => work(rank));
        }
        checkpoint();
        expect(counted).toEqual(Array<number>(count).fill(1));
      }),
    );
  });
});

describe("ranks that ask for the next epoch as soon as they have one", () => {
  const EPOCHS = 3;
  const stale = fc.record({
    rank: fc.nat(2),
    worldSize: fc.integer({ min: 1, max: 3 }),
    epoch: fc.nat(EPOCHS - 1),
    startIndex: fc.constantFrom(0, 0, 5, 12),
    sent: fc.nat(3),
  });
  const event = fc.record({
    kind: fc.constantFrom("send", "send", "acknowledge", "reconnect"),
    rank: fc.nat(2),
  });

  interface Epoch extends Rank {
    acknowledged: number;
  }

  /** Whatever earlier runs left behind, and however far one rank is ahead of the others. */
  test("have every acknowledgement of the one before taken", () => {
    fc.assert(
      fc.property(
        fc.array(stale, { maxLength: 6 }),
        fc.integer({ min: 1, max: 3 }),
        fc.constantFrom(0, 5, 7),
        fc.array(event, { maxLength: 60 }),
        (before, worldSize, start, events) => {
          const records: SessionRecords = sqliteRecords().records;
          const shape: StreamShape = { count: 23, batchSize: 2, tail: "short" };
          for (const { sent, ...fields } of before)
            if (fields.rank < fields.worldSize) send(records, { shape, resumeBatch: 0, ...fields }, sent);

          const totalOf = ({ segment }: Rank): number =>
            totalBatches({ ...shape, worldSize, rank: segment.rank, start: segment.startIndex });
          const enter = (rank: number, epoch: number, resumeBatch = 0): Epoch => {
            const startIndex = epoch === 0 ? start : 0;
            const stream = send(records, { shape, rank, worldSize, epoch, startIndex, resumeBatch }, 0);
            expect(stream.attachment).toMatchObject({ startIndex, nextBatch: resumeBatch });
            return { ...stream, next: resumeBatch, acknowledged: 0 };
          };
          const ranks = Array.from({ length: worldSize }, (_, rank) => [enter(rank, 0)]);
          const step = (rank: number, kind: string): boolean => {
            const epochs = ranks[rank] as Epoch[];
            const newest = epochs.at(-1) as Epoch;
            const waiting = epochs.find((each) => each.acknowledged < each.next);
            if (kind === "send") {
              if (newest.next === totalOf(newest)) return false;
              const { segment, attachment } = newest;
              const heads = headsOf(segment, newest.next, 1);
              recordWindow(records, { ...segment, lease: attachment.lease, firstBatch: newest.next, heads });
              newest.next++;
              if (newest.next === totalOf(newest) && epochs.length < EPOCHS)
                epochs.push(enter(rank, epochs.length));
            } else if (kind === "acknowledge") {
              if (waiting === undefined) return false;
              ack(records, waiting, waiting.acknowledged);
              waiting.acknowledged++;
            } else {
              const { acknowledged } = newest;
              epochs[epochs.length - 1] = { ...enter(rank, epochs.length - 1, newest.next), acknowledged };
            }
            return true;
          };
          for (const { kind, rank } of events) if (rank < worldSize) step(rank, kind);
          for (const rank of ranks.keys())
            while (step(rank, "send") || step(rank, "acknowledge")) expect(ranks[rank]).toBeDefined();

          for (const [rank, epochs] of ranks.entries()) {
            expect(epochs).toHaveLength(EPOCHS);
            for (const [epoch, { segment, acknowledged }] of epochs.entries()) {
              const { generation, ...there } = records.latestEpochStart(epoch) as EpochStart;
              expect(there.startIndex).toBe(segment.startIndex);
              const place = { generation: generation.number, epoch, rank };
              expect(records.cursor(place)?.acknowledged).toBe(acknowledged);
              expect(acknowledged).toBe(totalOf(epochs[epoch] as Epoch));
            }
          }
        },
      ),
    );
  });
});

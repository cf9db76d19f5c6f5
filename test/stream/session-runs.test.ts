import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { batchPositions, totalBatches } from "../../core/stream/batches.ts";
import { recordWindow, type AttachRequest } from "../../core/stream/session.ts";
import type { EpochStart, SessionRecords, StreamShape } from "../../core/stream/session-records.ts";
import { sqliteRecords } from "./records.ts";
import { ack, headsOf, send, type Rank } from "./session-calls.ts";

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

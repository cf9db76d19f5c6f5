import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DataStreamError } from "../../core/errors.ts";
import { type TailPolicy } from "../../core/stream/batches.ts";
import { acknowledge, attach, recordWindow } from "../../core/stream/session.ts";
import type { Segment, SessionRecords } from "../../core/stream/session-records.ts";
import { MemoryRecords, sqliteRecords } from "./records.ts";
import { headOf, headsOf, request, SHAPE } from "./session-calls.ts";

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

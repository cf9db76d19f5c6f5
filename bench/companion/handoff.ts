import { type BenchResult, figure } from "../figure.ts";
import { startRingBench, type RingBench } from "./ring-stream.ts";

const BATCHES = 4_000;
const ROUNDS = 7;
const MOST_MICROSECONDS = 100;

/**
 * What handing over a batch costs beside its bytes: from the companion's ring over the socket to a tensor in Python,
 * and back by its release. `companion.handoff`: time for each batch where several are on the way, as in a stream;
 * `.round_trip`: where each waits for the release of the one before. Batches of one page that nobody fills.
 */
export async function measure(): Promise<readonly BenchResult[]> {
  const bench = await startRingBench();
  if (typeof bench === "string") return [{ name: "companion.handoff", skipped: bench }];
  try {
    const streamed = await microseconds(bench, false);
    const alone = await microseconds(bench, true);
    return [
      figure({
        name: "companion.handoff",
        value: streamed,
        unit: `µs for each batch (${bench.format})`,
        against: `${MOST_MICROSECONDS} µs at most`,
        ratio: MOST_MICROSECONDS / streamed,
        goal: 1,
      }),
      figure({ name: "companion.handoff.round_trip", value: alone, unit: "µs" }),
    ];
  } finally {
    await bench.stop();
  }
}

async function microseconds(bench: RingBench, oneByOne: boolean): Promise<number> {
  const fill = (slot: Uint8Array, batch: number): void => {
    slot[0] = slot[slot.length - 1] = batch;
  };
  const options = { slots: 4, slotBytes: 4096, batches: BATCHES, oneByOne, fill };
  await bench.stream(options);
  const rounds: number[] = [];
  for (let round = 0; round < ROUNDS; round++) rounds.push(((await bench.stream(options)) * 1e6) / BATCHES);
  return rounds.toSorted((a, b) => a - b)[ROUNDS >> 1] as number;
}

import { type BenchResult, figure } from "../figure.ts";
import { startRingBench, type RingBench } from "./ring-stream.ts";

const MIB = 1024 * 1024;
const ROUNDS = 9;
const BYTES_PER_ROUND = 2048 * MIB;

/**
 * Bytes that reach a Python trainer through the ring in a second: written once, into the slot (a decoder's output),
 * beside the same written elsewhere and copied into the slot once (what it would cost to decode into memory of one's
 * own, and the most that a path with one more copy could reach). The trainer takes each as an array and looks at its
 * first and last byte. In turns; the ratio is the median of the rounds'.
 */
export async function measure(): Promise<readonly BenchResult[]> {
  const bench = await startRingBench();
  if (typeof bench === "string") return [{ name: "companion.memory", skipped: bench }];
  try {
    return [await compare(bench, 4), await compare(bench, 64)];
  } finally {
    await bench.stop();
  }
}

async function compare(bench: RingBench, mebibytes: number): Promise<BenchResult> {
  const slotBytes = mebibytes * MIB;
  const batches = BYTES_PER_ROUND / slotBytes;
  const elsewhere = new Uint8Array(slotBytes);
  const common = { slots: 4, slotBytes, batches, oneByOne: false };
  const inPlace = { ...common, fill: (slot: Uint8Array, batch: number) => void slot.fill(batch) };
  const copied = {
    ...common,
    fill(slot: Uint8Array, batch: number) {
      elsewhere.fill(batch);
      slot.set(elsewhere);
    },
  };
  const rounds: { readonly own: number; readonly other: number }[] = [];
  // The first round warms up.
  for (let round = -1; round < ROUNDS; round++) {
    const own = BYTES_PER_ROUND / 1e9 / (await bench.stream(inPlace));
    const other = BYTES_PER_ROUND / 1e9 / (await bench.stream(copied));
    if (round >= 0) rounds.push({ own, other });
  }
  const other = median(rounds.map((round) => round.other));
  return figure({
    name: mebibytes === 4 ? "companion.memory" : `companion.memory.${mebibytes}mib`,
    value: median(rounds.map(({ own }) => own)),
    unit: "GB/s",
    against: `with one memcpy: ${other.toPrecision(3)} GB/s`,
    ratio: median(rounds.map((round) => round.own / round.other)),
    goal: 1,
  });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] as number;
}

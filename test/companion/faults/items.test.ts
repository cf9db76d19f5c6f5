/** Items that come damaged, and items that nobody can decode. */
import { afterEach, expect, test } from "vitest";
import type { DoubleFile } from "../../client/double.ts";
import { images } from "../doubles.ts";
import { startDoubleCompanion, type DoubleCompanion } from "./double-companion.ts";

let companion: DoubleCompanion;
afterEach(() => companion.close());

/** Batch indices and errors until the stream ends or fails. */
async function outcome(
  more: object,
): Promise<{ batches: number[]; counts: number[]; errors: number[]; failure: unknown }> {
  const client = await companion.connect();
  await client.open(companion.request(more));
  const seen = {
    batches: [] as number[],
    counts: [] as number[],
    errors: [] as number[],
    failure: undefined as unknown,
  };
  try {
    for await (const batch of client.batches()) {
      seen.batches.push(batch.index);
      seen.counts.push(batch.count);
      seen.errors.push(...batch.errors.map(({ index }) => index));
    }
  } catch (error) {
    seen.failure = error;
  }
  client.kill();
  await companion.companion.quiet();
  expect(await companion.metric("message_bytes")).toBe(0);
  expect(await companion.metric("slots")).toBe(0);
  return seen;
}

const damageBatch = (index: bigint, times: number): void => {
  companion.double.lies.batch = (batch) => {
    if (batch.batchIndex === index && times-- > 0) (batch.items[0] as Uint8Array)[40] = 99;
  };
};

test("an item that came damaged once is fetched again, and counted", async () => {
  companion = await startDoubleCompanion();
  damageBatch(2n, 1);
  expect(await outcome({})).toMatchObject({
    batches: Array.from({ length: 10 }, (_, i) => i),
    failure: undefined,
  });
  expect(await companion.metric("refetched_batches_total")).toBe(1);
});

test("an item that stays damaged is never delivered: data_loss, after all that was right", async () => {
  companion = await startDoubleCompanion();
  damageBatch(2n, Infinity);
  expect(await outcome({ on_error: "skip" })).toMatchObject({
    batches: [0, 1],
    failure: { code: "data_loss", details: { subject: "item", batch: 2 } },
  });
  expect(companion.double.requests).toHaveLength(3);
});

const withBroken = (...broken: number[]): DoubleFile[] =>
  images(40).map((file, i) => (broken.includes(i) ? { ...file, bytes: Uint8Array.of(1, 2, 3) } : file));

test("an item that cannot be decoded ends the stream, naming it, after all batches before it", async () => {
  const files = withBroken(9);
  companion = await startDoubleCompanion(files);
  const path = files[9]?.path as string;
  expect(await outcome({ on_error: "raise" })).toMatchObject({
    batches: [0, 1],
    failure: { code: "invalid_argument", details: { path, index: 9, batch: 2 } },
  });
  expect(await companion.metric("undecodable_items_total")).toBe(1);
});

test("or is left out and reported, where the trainer skips", async () => {
  companion = await startDoubleCompanion(withBroken(9, 12, 13, 14, 15));
  expect(await outcome({ on_error: "skip" })).toMatchObject({
    batches: Array.from({ length: 10 }, (_, i) => i),
    counts: [4, 4, 3, 0, 4, 4, 4, 4, 4, 4],
    errors: [9, 12, 13, 14, 15],
    failure: undefined,
  });
});

test("the first item decides what batches look like; where it cannot be decoded, the next that can", async () => {
  companion = await startDoubleCompanion(withBroken(0, 1));
  const client = await companion.connect();
  client.send({ type: "open", ...companion.request({ on_error: "raise" }) });
  expect(await client.expect("error")).toMatchObject({ code: "invalid_argument" });
  await client.closed();
  expect(await outcome({ on_error: "skip" })).toMatchObject({
    batches: Array.from({ length: 10 }, (_, i) => i),
    errors: [0, 1],
  });
});

test("a stream in whose first batch nothing can be decoded does not open", async () => {
  companion = await startDoubleCompanion(withBroken(0, 1, 2, 3));
  const client = await companion.connect();
  client.send({ type: "open", ...companion.request({ on_error: "skip" }) });
  expect(await client.expect("error")).toMatchObject({ code: "invalid_argument" });
  await client.closed();
});

test("a first batch that came damaged is not what the stream is described by", async () => {
  companion = await startDoubleCompanion();
  damageBatch(0n, 1);
  const client = await companion.connect();
  expect(await client.open(companion.request())).toMatchObject({ total_batches: 10 });
  client.kill();
});

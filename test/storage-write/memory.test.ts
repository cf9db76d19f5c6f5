import { afterAll, expect, test } from "vitest";
import { ISOLATE_BUDGET_BYTES } from "../../core/limits.ts";
import type { ShardStore } from "../../core/ports.ts";
import { ByteBudget } from "../../storage/byte-budget.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import { putObject } from "../../storage/uploads/put-object.ts";
import { putPart } from "../../storage/uploads/put-part.ts";
import { createUpload } from "../../storage/uploads/sessions.ts";
import { createBench, patterned, readBack } from "./fixture.ts";

const MIB = 1024 * 1024;
const bench = await createBench({ chunkBytes: 16 * MIB });
afterAll(() => bench.close());

/** Takes shards and keeps none. */
const blackHole = (store: ShardStore): ShardStore => ({ ...store, put: async () => "created" });

function zeros(bytes: number): ReadableStream<Uint8Array> {
  const piece = new Uint8Array(64 * 1024);
  let left = bytes;
  return new ReadableStream({
    pull(controller) {
      if (left > 0) controller.enqueue(piece.subarray(0, Math.min(piece.length, left)));
      else controller.close();
      left -= piece.length;
    },
  });
}

test("an upload of 160 MiB in parts of 64 MiB holds one chunk and its parity, whatever its size", async () => {
  const budget = new ByteBudget(ISOLATE_BUDGET_BYTES);
  const deps = bench.deps({ wrap: blackHole, budget });
  const free = deps.kernels.heap.freeBytes;
  const partBytes = 64 * MIB;
  const { id } = await createUpload(deps, {
    bucketId: bench.bucketId,
    kind: "object",
    key: "large",
    partBytes,
  });
  for (const [i, size] of [partBytes, partBytes, 32 * MIB].entries()) {
    const part = {
      uploadId: id,
      ownerId: bench.ownerId,
      partNumber: i + 1,
      body: zeros(size),
      declaredLength: size,
    };
    await putPart(deps, part);
  }
  const result = await completeUpload(deps, { uploadId: id, ownerId: bench.ownerId, parts: 3 });
  expect(result).toMatchObject({ bytes: 160 * MIB, chunks: 10 });
  expect(budget.peakBytes).toBe(24 * MIB);
  expect(budget.usedBytes).toBe(0);
  expect(deps.kernels.heap.freeBytes).toBe(free);
});

test("a small part takes little memory", async () => {
  const budget = new ByteBudget(ISOLATE_BUDGET_BYTES);
  const deps = bench.deps({ budget });
  const { id } = await createUpload(deps, { bucketId: bench.bucketId, kind: "object", key: "small" });
  const bytes = patterned(1000);
  const part = { uploadId: id, ownerId: bench.ownerId, partNumber: 1, body: zeros(0), declaredLength: 0 };
  await putPart(deps, part);
  expect(budget.peakBytes).toBe(6 * 64);
  await putPart(deps, {
    ...part,
    body: new Response(bytes).body as ReadableStream<Uint8Array>,
    declaredLength: 1000,
  });
  expect(budget.peakBytes).toBe(6 * 256);
});

test("uploads at once wait for memory in turn", async () => {
  const budget = new ByteBudget(30 * MIB);
  const deps = bench.deps({ wrap: blackHole, budget });
  const { id } = await createUpload(deps, { bucketId: bench.bucketId, kind: "object", key: "turns" });
  const size = 16 * MIB;
  await Promise.all(
    [1, 2, 3].map((partNumber) =>
      putPart(deps, {
        uploadId: id,
        ownerId: bench.ownerId,
        partNumber,
        body: zeros(size),
        declaredLength: size,
      }),
    ),
  );
  expect(budget.peakBytes).toBe(24 * MIB);
});

test("the service's own objects may have any length, also one that ends with a part", async () => {
  for (const size of [0, 5, 16 * MIB, 16 * MIB + 1]) {
    const bytes = patterned(size);
    const put = await putObject(bench.deps(), { bucketId: bench.bucketId, key: "own", bytes });
    expect(put.size).toBe(size);
    const stored = (await readBack(bench, "own")) as Uint8Array;
    expect(Buffer.compare(stored, bytes)).toBe(0);
    const rows = await bench.sql.query({
      text: "select id from objects where key = 'own' and state = 'live'",
      values: [],
    });
    expect(rows).toEqual([{ id: put.objectId }]);
  }
  const pieces = (async function* () {
    for (let i = 0; i < 10; i++) yield patterned(1000, i);
  })();
  const { contentHash } = await putObject(bench.deps(), {
    bucketId: bench.bucketId,
    key: "own",
    bytes: pieces,
  });
  const whole = Buffer.concat(Array.from({ length: 10 }, (_, i) => patterned(1000, i)));
  expect(Buffer.compare((await readBack(bench, "own")) as Uint8Array, whole)).toBe(0);
  expect(contentHash).toEqual(bench.deps().kernels.blake3.hash(whole));
});

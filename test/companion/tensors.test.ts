import { availableParallelism } from "node:os";
import { encode } from "fast-png";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { streamTensors, type TensorBatch, type TensorStreamOptions } from "../../companion/tensor-stream.ts";
import { WorkerPool } from "../../companion/workers/pool.ts";
import type { Blake3 } from "../../core/ports.ts";
import { loadKernels } from "../../kernels/index.ts";
import type { DoubleFile } from "../client/double.ts";
import { images, pixelsOf, setUp as setUpWith, type DoubleSetup } from "./doubles.ts";

let blake3: Blake3;
let workers: WorkerPool;
beforeAll(async () => {
  ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
  workers = new WorkerPool(availableParallelism());
});
afterAll(() => workers.close());

const setUp = (files: readonly DoubleFile[], schema?: object): DoubleSetup =>
  setUpWith(files, blake3, schema);

function tensors(
  { client, source }: DoubleSetup,
  options: Omit<TensorStreamOptions, "dataset">,
): AsyncGenerator<TensorBatch, void, undefined> {
  return streamTensors(client, { dataset: "letters", source, workers, ...options });
}

/** A batch as plain values, taken before the ring reuses its memory. */
function snapshot(batch: TensorBatch): {
  shape: readonly number[];
  data: number[];
  labels: number[];
  paths: readonly string[];
} {
  return {
    shape: batch.shape,
    data: Array.from(batch.data as Uint8Array),
    labels: [...(batch.labels ?? [])],
    paths: batch.source.paths,
  };
}

test("images become one contiguous tensor with labels from their folders", async () => {
  const batches = [];
  for await (const batch of tensors(setUp(images(10)), { batchSize: 4, shuffle: true })) {
    expect(batch).toMatchObject({ dtype: "uint8", layout: "NHWC" });
    batches.push(snapshot(batch));
  }
  expect(batches.map((batch) => batch.shape)).toEqual([
    [4, 4, 4, 1],
    [4, 4, 4, 1],
    [2, 4, 4, 1],
  ]);
  for (const batch of batches) {
    for (const [n, path] of batch.paths.entries()) {
      const number = Number(/(\d+)\.png/.exec(path)?.[1]);
      expect(batch.data.slice(n * 16, n * 16 + 16)).toEqual([...pixelsOf(number)]);
      expect(batch.labels[n]).toBe(number % 2);
    }
  }
});

test("a loop that is left, or fails, gives every message back", async () => {
  const left = setUp(images(40));
  for await (const batch of tensors(left, { batchSize: 2, slots: 5 })) if (batch.source.index === 2) break;
  expect(left.source.held).toBe(0);

  const failed = setUp(images(40));
  const failing = (async () => {
    for await (const batch of tensors(failed, { batchSize: 2, slots: 5 })) {
      if (batch.source.index === 1) batch.keep();
      if (batch.source.index === 3) throw new RangeError("the loss is not a number");
    }
  })();
  await expect(failing).rejects.toThrow(RangeError);
  expect(failed.source.held).toBe(0);
});

test("what was acknowledged reaches the gateway, and nothing else", async () => {
  const automatic = setUp(images(10));
  for await (const batch of tensors(automatic, { batchSize: 4 })) void batch;
  expect(automatic.double.acknowledgements.at(-1)?.batchIndex).toBe(2n);

  const manual = setUp(images(10));
  for await (const batch of tensors(manual, { batchSize: 4, acknowledge: "manual" }))
    if (batch.source.index === 1) batch.acknowledge({ checkpoint: true });
  expect(manual.double.acknowledgements.map((each) => [each.batchIndex, each.checkpoint])).toEqual([
    [1n, true],
  ]);
});

test("a loop that is left while the gateway is silent ends at once", async () => {
  const { double, source } = setUp(images(40));
  const silent: typeof fetch = async (input, init) => {
    const response = await double.fetch(input, init);
    if (!new Request(input).url.endsWith("/StreamBatches")) return response;
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let pulled = 0;
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        if (pulled++ < 2) controller.enqueue((await reader.read()).value as Uint8Array);
        else
          await new Promise((_, reject) =>
            init?.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError"))),
          );
      },
    });
    return new Response(body);
  };
  const client = new DataStreamClient({ gateway: "http://double.test", accessToken: "t", fetch: silent });
  const seen: number[] = [];
  for await (const batch of tensors({ client, double, source }, { batchSize: 2 })) {
    seen.push(batch.source.index);
    if (batch.source.index === 1) break;
  }
  expect(seen).toEqual([0, 1]);
});

test("a kept batch stays as it was while the ring goes on", async () => {
  let kept: { batch: TensorBatch; before: number[]; release: () => void } | undefined;
  for await (const batch of tensors(setUp(images(40)), { batchSize: 2, slots: 4 })) {
    kept ??= { batch, before: Array.from(batch.data as Uint8Array), release: batch.keep() };
    expect(Array.from(kept.batch.data as Uint8Array)).toEqual(kept.before);
  }
  expect(Array.from(kept?.batch.data as Uint8Array)).toEqual(kept?.before);
  kept?.release();
});

test("keeping every batch is an error that says what to do, not a stall", async () => {
  const keepAll = (async () => {
    for await (const batch of tensors(setUp(images(40)), { batchSize: 2, slots: 4 })) batch.keep();
  })();
  await expect(keepAll).rejects.toMatchObject({
    code: "resource_exhausted",
    message: expect.stringMatching(/release some/) as string,
  });
});

test("an image that does not decode, or of another size, is refused by its path", async () => {
  const files = images(8);
  const broken = files.map((file, i) => (i === 5 ? { ...file, bytes: Uint8Array.of(1, 2, 3) } : file));
  const run = async (list: readonly DoubleFile[]): Promise<void> => {
    for await (const batch of tensors(setUp(list), { batchSize: 4 })) void batch;
  };
  await expect(run(broken)).rejects.toThrow(files[5]?.path);
  const larger = encode({ width: 5, height: 4, data: new Uint8Array(20), depth: 8, channels: 1 });
  await expect(run(files.map((file, i) => (i === 2 ? { ...file, bytes: larger } : file)))).rejects.toThrow(
    /4×5×1 of uint8; this batch holds 4×4×1/,
  );
});

test("raw items keep their dtype, and a wrong length is refused", async () => {
  const schema = { type: "tensor", format: "raw", shape: [2, 3], dtype: "float32" };
  const values = (i: number): Float32Array => Float32Array.from({ length: 6 }, (_, j) => i + j / 8);
  const files = Array.from({ length: 5 }, (_, i) => ({
    path: `x/${i}.raw`,
    bytes: new Uint8Array(values(i).buffer),
  }));
  for await (const batch of tensors(setUp(files, schema), { batchSize: 5 })) {
    expect(batch.shape).toEqual([5, 2, 3]);
    expect(Array.from(batch.data as Float32Array)).toEqual([0, 1, 2, 3, 4].flatMap((i) => [...values(i)]));
    expect(batch.labels).toBeUndefined();
  }
  const short = setUp([{ path: "x/0.raw", bytes: new Uint8Array(23) }], schema);
  const run = async (): Promise<void> => {
    for await (const batch of tensors(short, { batchSize: 5 })) void batch;
  };
  await expect(run()).rejects.toThrow(/x\/0\.raw: has 23 bytes; shape 2×3 of float32 takes 24/);
});

test("items that stay bytes come one after the other, with their ends", async () => {
  const files = ["a", "bcd", "", "ef"].map((text, i) => ({
    path: `x/${i}.txt`,
    bytes: new TextEncoder().encode(text),
  }));
  for await (const batch of tensors(setUp(files, { type: "text", format: "txt" }), { batchSize: 4 })) {
    expect(batch.shape).toEqual([6]);
    expect(new TextDecoder().decode((batch.data as Uint8Array).slice())).toBe("abcdef");
    expect([...(batch.ends ?? [])]).toEqual([1n, 4n, 4n, 6n]);
  }
});

test("items that cannot be decoded are left out and reported where the consumer says so", async () => {
  const files = images(9).map((file, i) => (i % 4 === 1 ? { ...file, bytes: Uint8Array.of(1, 2, 3) } : file));
  const seen = [];
  for await (const batch of tensors(setUp(files), { batchSize: 3, onError: "skip" })) {
    seen.push([batch.shape[0], batch.source.paths.length, batch.errors.map(({ index }) => index)]);
    for (const [n, index] of batch.source.indices.entries()) {
      const number = Number(/(\d+)\.png/.exec(files[index]?.path ?? "")?.[1]);
      expect([...(batch.data as Uint8Array).subarray(n * 16, n * 16 + 16)]).toEqual([...pixelsOf(number)]);
      expect(batch.labels?.[n]).toBe(number % 2);
    }
  }
  expect(seen).toEqual([
    [2, 2, [1]],
    [2, 2, [5]],
    [3, 3, []],
  ]);
});

test("an item that came damaged is asked for again; one that stays so ends the stream", async () => {
  const once = setUp(images(12));
  let lies = 1;
  once.double.lies.batch = (batch) => {
    if (batch.batchIndex === 1n && lies-- > 0) (batch.items[0] as Uint8Array)[40] = 99;
  };
  let count = 0;
  for await (const batch of tensors(once, { batchSize: 3, slots: 2 })) count += batch.shape[0] as number;
  expect(count).toBe(12);
  expect(once.source.held).toBe(0);

  const always = setUp(images(12));
  always.double.lies.batch = (batch) => {
    if (batch.batchIndex === 1n) (batch.items[0] as Uint8Array)[40] = 99;
  };
  const seen: number[] = [];
  const run = async (): Promise<void> => {
    for await (const batch of tensors(always, { batchSize: 3 })) seen.push(batch.source.index);
  };
  await expect(run()).rejects.toMatchObject({ code: "data_loss", mismatch: { subject: "item" } });
  expect(seen).toEqual([0]);
  expect(always.double.requests).toHaveLength(3);
  expect(always.source.held).toBe(0);
});

test("a first item that came damaged does not decide what the others look like", async () => {
  const setup = setUp(images(6));
  let lies = 1;
  const larger = encode({ width: 5, height: 4, data: new Uint8Array(20), depth: 8, channels: 1 });
  setup.double.lies.batch = (batch) => {
    if (lies-- > 0) batch.items[0] = larger;
  };
  for await (const batch of tensors(setup, { batchSize: 3 })) expect(batch.shape).toEqual([3, 4, 4, 1]);
  expect(setup.double.requests).toHaveLength(2);
});

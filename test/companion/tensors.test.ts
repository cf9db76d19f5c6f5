import { encode } from "fast-png";
import { beforeAll, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { hostMemory, type DeviceBackend } from "../../companion/device.ts";
import { SlotRing } from "../../companion/slot-ring.ts";
import { streamTensors, type TensorBatch } from "../../companion/tensor-stream.ts";
import { toHex } from "../../core/bytes.ts";
import { parseSchema, schemaHash, withClasses } from "../../core/dataset/schema.ts";
import type { Blake3 } from "../../core/ports.ts";
import { loadKernels } from "../../kernels/index.ts";
import { describe as describeVersion, GatewayDouble, type DoubleFile } from "../client/double.ts";

const SIDE = 4;
const IMAGE = { type: "image", format: "png", labels: "path" };
let blake3: Blake3;
beforeAll(async () => {
  ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
});

const pixelsOf = (i: number): Uint8Array =>
  Uint8Array.from({ length: SIDE * SIDE }, (_, j) => (i * 17 + j) & 0xff);

function images(count: number): DoubleFile[] {
  return Array.from({ length: count }, (_, i) => ({
    path: `${i % 2 === 0 ? "even" : "odd"}/${String(i).padStart(3, "0")}.png`,
    bytes: encode({ width: SIDE, height: SIDE, data: pixelsOf(i), depth: 8, channels: 1 }),
  })).toSorted((left, right) => (left.path < right.path ? -1 : 1));
}

function setUp(
  files: readonly DoubleFile[],
  schema: object = IMAGE,
): { client: DataStreamClient; double: GatewayDouble } {
  const double = new GatewayDouble(files, blake3);
  const complete = withClasses(
    parseSchema(schema),
    files.map((file) => file.path),
  );
  double.version = describeVersion(files, blake3, 1);
  double.version.info = {
    ...double.version.info,
    schema: complete,
    schema_hash: toHex(schemaHash(complete, blake3)),
  };
  return {
    double,
    client: new DataStreamClient({ gateway: "http://double.test", accessToken: "t", fetch: double.fetch }),
  };
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
  const { client } = setUp(images(10));
  const batches = [];
  for await (const batch of streamTensors(client, { dataset: "letters", batchSize: 4, shuffle: true })) {
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

/** Host memory that counts what is taken and given back. */
function counting(): { backend: DeviceBackend; counts: () => [allocated: number, freed: number] } {
  let allocated = 0;
  let freed = 0;
  const backend: DeviceBackend = {
    name: "counting",
    allocate: (byteLength) => {
      allocated += 1;
      const buffer = hostMemory.allocate(byteLength);
      return { ...buffer, free: () => (freed += 1) };
    },
  };
  return { backend, counts: () => [allocated, freed] };
}

test("the ring is allocated once and reused", async () => {
  const { backend, counts } = counting();
  const { client } = setUp(images(60));
  for await (const batch of streamTensors(client, { dataset: "letters", batchSize: 2, slots: 3, backend })) {
    expect(batch.data.length).toBe(32);
  }
  expect(counts()).toEqual([3, 3]);
});

test("a loop that is left, or fails, gives every buffer back; a kept one when it is let go", async () => {
  const { client } = setUp(images(40));
  const options = { dataset: "letters", batchSize: 2, slots: 5 };
  const left = counting();
  for await (const batch of streamTensors(client, { ...options, backend: left.backend }))
    if (batch.source.index === 2) break;
  expect(left.counts()).toEqual([5, 5]);

  const failed = counting();
  let letGo = (): void => undefined;
  const failing = (async () => {
    for await (const batch of streamTensors(client, { ...options, backend: failed.backend })) {
      if (batch.source.index === 1) letGo = batch.keep();
      if (batch.source.index === 3) throw new RangeError("the loss is not a number");
    }
  })();
  await expect(failing).rejects.toThrow(RangeError);
  expect(failed.counts()).toEqual([5, 4]);
  letGo();
  expect(failed.counts()).toEqual([5, 5]);
});

test("a loop that is left while the gateway is silent ends at once", async () => {
  const { double } = setUp(images(40));
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
  for await (const batch of streamTensors(client, { dataset: "letters", batchSize: 2 })) {
    seen.push(batch.source.index);
    if (batch.source.index === 1) break;
  }
  expect(seen).toEqual([0, 1]);
});

test("a kept batch stays as it was while the ring goes on", async () => {
  const { client } = setUp(images(40));
  let kept: { batch: TensorBatch; before: number[]; release: () => void } | undefined;
  for await (const batch of streamTensors(client, { dataset: "letters", batchSize: 2, slots: 4 })) {
    kept ??= { batch, before: Array.from(batch.data as Uint8Array), release: batch.keep() };
    expect(Array.from(kept.batch.data as Uint8Array)).toEqual(kept.before);
  }
  kept?.release();
});

test("keeping every batch is an error that says what to do, not a stall", async () => {
  const { client } = setUp(images(40));
  const keepAll = (async () => {
    for await (const batch of streamTensors(client, { dataset: "letters", batchSize: 2, slots: 4 }))
      batch.keep();
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
    for await (const batch of streamTensors(setUp(list).client, { dataset: "letters", batchSize: 4 }))
      void batch;
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
  const { client } = setUp(files, schema);
  for await (const batch of streamTensors(client, { dataset: "letters", batchSize: 5 })) {
    expect(batch.shape).toEqual([5, 2, 3]);
    expect(Array.from(batch.data as Float32Array)).toEqual([0, 1, 2, 3, 4].flatMap((i) => [...values(i)]));
    expect(batch.labels).toBeUndefined();
  }
  const short = setUp([{ path: "x/0.raw", bytes: new Uint8Array(23) }], schema);
  const run = async (): Promise<void> => {
    for await (const batch of streamTensors(short.client, { dataset: "letters", batchSize: 5 })) void batch;
  };
  await expect(run()).rejects.toThrow(/x\/0\.raw: has 23 bytes; shape 2×3 of float32 takes 24/);
});

test("the slot ring lends each buffer to one at a time, and frees all of them", async () => {
  const live = new Set<object>();
  const backend: DeviceBackend = {
    name: "tracking",
    allocate: (byteLength) => {
      const buffer = { ...hostMemory.allocate(byteLength), free: (): void => void live.delete(buffer) };
      live.add(buffer);
      return buffer;
    },
  };
  const ring = new SlotRing(backend, 2, 64);
  const [first, second] = [await ring.acquire(), await ring.acquire()];
  expect(first.buffer).not.toBe(second.buffer);
  const waiting = ring.acquire();
  first.release();
  first.release();
  const third = await waiting;
  expect(third.buffer).toBe(first.buffer);
  expect(ring.held).toBe(2);
  const never = ring.acquire();
  ring.close();
  await expect(never).rejects.toMatchObject({ code: "canceled" });
  second.release();
  third.release();
  expect(live.size).toBe(0);
});

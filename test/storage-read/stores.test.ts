/** One contract for every shard store, in Node and inside workerd. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, test } from "vitest";
import { DataStreamError } from "../../core/errors.ts";
import type { ShardStore } from "../../core/ports.ts";
import { startGateway } from "../../scripts/stack/gateway.ts";
import { HttpShardStore } from "../../storage/http-shard-store.ts";
import { MemoryShardStore } from "../../storage/memory-shard-store.ts";
import { R2ShardStore } from "../../storage/r2-shard-store.ts";
import { Random } from "./cluster.ts";
import { startHttpNode } from "./http-node.ts";

const httpNode = await startHttpNode();
const directory = mkdtempSync(join(tmpdir(), "cyxcloud-stores-"));
const worker = await startGateway({
  directory,
  entry: join(import.meta.dirname, "stores.worker.ts"),
  bindings: { HTTP_NODE: httpNode.url },
});
const bucket = (await worker.bucket(2)) as unknown as ConstructorParameters<typeof R2ShardStore>[0];
afterAll(async () => {
  await worker.stop();
  await httpNode.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** A store that lives in workerd. */
function remote(name: "r2" | "http"): ShardStore {
  async function call(
    method: string,
    query: Record<string, string>,
    body?: RequestInit["body"],
  ): Promise<Response> {
    const url = `${worker.url}/?${new URLSearchParams({ store: name, method, ...query })}`;
    const response = await fetch(url, { method: "POST", ...(body !== undefined && { body }) });
    if (response.status !== 500) return response;
    const { code, message, details } = (await response.json()) as DataStreamError;
    throw new DataStreamError(code, message, { details });
  }
  return {
    put: async (key, bytes) =>
      (await call("put", { key }, new Uint8Array(bytes))).json() as ReturnType<ShardStore["put"]>,
    async read(key, offset, length, into) {
      const response = await call("read", { key, offset: String(offset), length: String(length) });
      const bytes = new Uint8Array(await response.arrayBuffer());
      if (response.status === 204) return undefined;
      expect(response.headers.get("x-recycled")).toBe("true");
      into.set(bytes);
      return into.subarray(0, bytes.length);
    },
    size: async (key) => ((await (await call("size", { key })).json()) as { size?: number }).size,
    delete: async (keys) => void (await call("delete", {}, JSON.stringify(keys))),
    list: async (prefix, after) =>
      (await (await call("list", { key: prefix, ...(after !== undefined && { after }) })).json()) as string[],
  };
}

const stores: readonly (readonly [name: string, store: ShardStore, lists: boolean])[] = [
  ["memory", new MemoryShardStore(), true],
  ["R2 through Node", new R2ShardStore(bucket, "node-2"), true],
  ["HTTP from Node", new HttpShardStore(httpNode.url, "node-1"), false],
  ["R2 in workerd", remote("r2"), true],
  ["HTTP in workerd", remote("http"), false],
];

describe.each(stores)("%s", (name, store, lists) => {
  const random = new Random(7);
  let prefix = "";
  let number = 0;
  beforeEach(() => {
    prefix = `${name.replaceAll(" ", "-")}-${number++}`;
  });
  const read = (key: string, offset: number, length: number): Promise<Uint8Array | undefined> =>
    store.read(key, offset, length, new Uint8Array(Math.max(length, 64)));

  test("gives back what was put, in whole and in ranges", async () => {
    const bytes = random.bytes(3_000_001);
    expect(await store.put(`${prefix}/0.0`, bytes)).toBe("created");
    for (const [offset, length] of [
      [0, 3_000_001],
      [0, 1],
      [3_000_000, 1],
      [1_048_576, 1_048_576],
      [12_345, 678],
    ] as const) {
      const range = await read(`${prefix}/0.0`, offset, length);
      expect(range?.byteLength).toBe(length);
      expect(Buffer.compare(range as Uint8Array, bytes.subarray(offset, offset + length))).toBe(0);
    }
    expect(await store.size(`${prefix}/0.0`)).toBe(3_000_001);
  });

  test("creates only: a second put changes nothing and says so", async () => {
    expect(await store.put(`${prefix}/0.0`, new Uint8Array([1, 2, 3]))).toBe("created");
    expect(await store.put(`${prefix}/0.0`, new Uint8Array([4, 5, 6]))).toBe("exists");
    expect([...((await read(`${prefix}/0.0`, 0, 3)) ?? [])]).toEqual([1, 2, 3]);
  });

  test("of racing puts one creates", async () => {
    const puts = Array.from({ length: 5 }, (_, i) => store.put(`${prefix}/0.0`, new Uint8Array([i])));
    const outcomes = await Promise.all(puts);
    expect(outcomes.filter((outcome) => outcome === "created")).toHaveLength(1);
    expect([...((await read(`${prefix}/0.0`, 0, 1)) ?? [])]).toEqual([outcomes.indexOf("created")]);
  });

  test("an absent key and a shard that is too short are not errors", async () => {
    expect(await read(`${prefix}/0.0`, 0, 10)).toBeUndefined();
    expect(await store.size(`${prefix}/0.0`)).toBeUndefined();
    await store.put(`${prefix}/0.0`, new Uint8Array(100));
    for (const [offset, length] of [
      [0, 101],
      [99, 2],
      [100, 1],
      [5_000, 10],
    ] as const) {
      expect(await read(`${prefix}/0.0`, offset, length), `${offset} + ${length}`).toBeUndefined();
    }
  });

  test("deletes many at once, absent ones too", async () => {
    const keys = Array.from({ length: lists ? 1_001 : 20 }, (_, i) => `${prefix}/${i}.0`);
    await Promise.all([
      store.put(keys[0] as string, new Uint8Array(1)),
      store.put(keys.at(-1) as string, new Uint8Array(1)),
    ]);
    await store.delete(keys);
    expect(await store.size(keys[0] as string)).toBeUndefined();
    expect(await store.size(keys.at(-1) as string)).toBeUndefined();
  });

  if (lists) {
    test("lists a prefix in byte order, from where the caller wants", async () => {
      for (const key of ["b/0.0", "a/1.0", "a/0.0", "a/0.1"])
        await store.put(`${prefix}/${key}`, new Uint8Array(1));
      expect(await store.list(`${prefix}/a/`)).toEqual(
        ["a/0.0", "a/0.1", "a/1.0"].map((key) => `${prefix}/${key}`),
      );
      expect(await store.list(`${prefix}/`, `${prefix}/a/0.1`)).toEqual([
        `${prefix}/a/1.0`,
        `${prefix}/b/0.0`,
      ]);
    });
  } else {
    test("says that it cannot list", async () => {
      await expect(store.list(prefix)).rejects.toMatchObject({ code: "failed_precondition" });
    });
  }
});

test.each([stores[2], stores[4]] as (typeof stores)[number][])(
  "%s: reads of ranges share a connection",
  async (name, store) => {
    const key = `${name.replaceAll(" ", "-")}-shared/0.0`;
    await store.put(key, new Uint8Array(3_000_000));
    const before = httpNode.connections;
    for (let i = 0; i < 20; i++) await store.read(key, i * 1_000, 1_000_000, new Uint8Array(1_000_000));
    expect(httpNode.connections - before).toBeLessThanOrEqual(1);
  },
);

describe("a node that fails", () => {
  test.each([stores[2], stores[4]] as (typeof stores)[number][])(
    "%s: is unavailable, whatever the call",
    async (_, store) => {
      httpNode.failWith = 503;
      try {
        for (const call of [
          () => store.put("k", new Uint8Array(1)),
          () => store.read("k", 0, 1, new Uint8Array(1)),
          () => store.size("k"),
          () => store.delete(["k"]),
        ]) {
          await expect(call()).rejects.toMatchObject({ code: "unavailable", details: { node: "node-1" } });
        }
      } finally {
        httpNode.failWith = undefined;
      }
    },
  );

  test("nobody listens: unavailable, and the address stays inside", async () => {
    const store = new HttpShardStore("http://127.0.0.1:1/secret-path", "node-9");
    const error = (await store.size("k").catch((thrown: unknown) => thrown)) as DataStreamError;
    expect(error).toMatchObject({ code: "unavailable", details: { node: "node-9" } });
    expect(error.message).not.toContain("secret-path");
  });

  test("R2 throws: unavailable; a null from put means that the key exists", async () => {
    const failing = {
      put: () => Promise.reject(new Error("internal error; 10001")),
      get: () => Promise.reject(new Error("10001")),
    };
    const store = new R2ShardStore(failing, "node-3");
    await expect(store.put("k", new Uint8Array(1))).rejects.toMatchObject({ code: "unavailable" });
    await expect(store.read("k", 0, 1, new Uint8Array(1))).rejects.toMatchObject({ code: "unavailable" });
    const refusing = { put: () => Promise.resolve(null) };
    const full = new R2ShardStore(refusing, "node-3");
    expect(await full.put("k", new Uint8Array(1))).toBe("exists");
  });
});

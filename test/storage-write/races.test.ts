import { afterAll, beforeEach, describe, expect, test } from "vitest";
import * as chunks from "../../catalog/chunks.ts";
import * as garbage from "../../catalog/garbage.ts";
import { dropObjects, findLiveObject } from "../../catalog/objects.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { Sql } from "../../core/ports.ts";
import type { PartCommit } from "../../core/write-catalog.ts";
import { collectGarbage } from "../../storage/collect-garbage.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import { createUpload } from "../../storage/uploads/sessions.ts";
import {
  collectAll,
  createBench,
  expectNoOrphans,
  HOUR,
  patterned,
  putWhole,
  readAll,
  readBack,
  upload,
} from "./fixture.ts";
import { closedGate, type Gate } from "./gate.ts";

const bench = await createBench({ chunkBytes: 4096 });
afterAll(() => bench.close());
const now = (): Date => new Date(bench.clock.time);
const bytes = patterned(100);

let gate: Gate;
beforeEach(async () => {
  gate = await closedGate(bench);
  return () => gate.close();
});

/** Stores an object of one chunk and returns the two ids. */
async function stored(key: string): Promise<{ objectId: string; chunkId: string }> {
  await upload(bench, bench.deps(), { kind: "object", key }, [bytes]);
  const objectId = (await findLiveObject(bench.sql, bench.bucketId, key))?.id as string;
  const rows = await bench.sql.query({
    text: "select chunk_id from extents where object_id = $1",
    values: [objectId],
  });
  return { objectId, chunkId: rows[0]?.["chunk_id"] as string };
}

/** Stores an object and drops it again: its chunk is live, and nothing references it. */
async function loose(key: string): Promise<string> {
  const { chunkId } = await stored(key);
  await dropObjects(bench.sql, bench.bucketId, [key]);
  await garbage.deleteDroppedObjects(bench.sql, 100);
  return chunkId;
}

/** A commit of another part of the product that references a stored chunk: a copy. */
function copyChunk(sql: Sql, key: string, chunkId: string): Promise<unknown> {
  return sql.transaction([
    {
      text: `insert into objects (bucket_id, key, state, size, content_hash) values ($1, $2, 'live', $3, $4)`,
      values: [bench.bucketId, key, bytes.length, bench.deps().kernels.blake3.hash(bytes)],
    },
    {
      text: `insert into extents select id, 0, $2::uuid, 0, $3 from objects where key = $1 and state = 'live'`,
      values: [key, chunkId, bytes.length],
    },
  ]);
}

async function stateOf(chunkId: string): Promise<unknown> {
  return (await bench.sql.query({ text: "select state from chunks where id = $1", values: [chunkId] }))[0]?.[
    "state"
  ];
}

describe("a chunk without references", () => {
  test("that a commit is about to reference stays", async () => {
    const chunkId = await loose("a");
    const copying = copyChunk(gate.sql, "copy-a", chunkId);
    await gate.reached();
    const condemning = garbage.condemnLooseChunks(bench.sql, now(), 100);
    await gate.blocked(2);
    await gate.open();
    await copying;
    expect(await condemning).toBe(0);
    expect(await stateOf(chunkId)).toBe("live");
    expect(await readBack(bench, "copy-a")).toEqual(bytes);
  });

  test("that is about to be condemned cannot be referenced any more", async () => {
    const chunkId = await loose("b");
    const condemning = garbage.condemnLooseChunks(gate.sql, now(), 100);
    await gate.reached();
    const copying = copyChunk(bench.sql, "copy-b", chunkId).catch((error: unknown) => error);
    await gate.blocked(2);
    await gate.open();
    expect(await condemning).toBe(1);
    expect(await copying).toMatchObject({ state: "23503", constraint: "extents_need_live_chunks" });
    expect(await readBack(bench, "copy-b")).toBeUndefined();
  });

  test("is noticed when its last reference goes while another loss is looked at", async () => {
    const { objectId, chunkId } = await stored("c");
    await copyChunk(bench.sql, "copy-c", chunkId);
    await dropObjects(bench.sql, bench.bucketId, ["copy-c"]);
    await garbage.deleteDroppedObjects(bench.sql, 100);
    const condemning = garbage.condemnLooseChunks(gate.sql, now(), 100);
    await gate.reached();
    const removing = bench.sql.query({ text: "delete from objects where id = $1", values: [objectId] });
    await gate.blocked(2);
    await gate.open();
    expect(await condemning).toBe(0);
    await removing;
    expect(await garbage.condemnLooseChunks(bench.sql, now(), 100)).toBe(1);
    expect(await stateOf(chunkId)).toBe("condemned");
  });

  test("is condemned when the loss of its last reference commits first", async () => {
    const { objectId, chunkId } = await stored("d");
    await copyChunk(bench.sql, "copy-d", chunkId);
    await dropObjects(bench.sql, bench.bucketId, ["copy-d"]);
    await garbage.deleteDroppedObjects(bench.sql, 100);
    const removing = gate.sql.transaction([
      { text: "delete from objects where id = $1", values: [objectId] },
    ]);
    await gate.reached();
    const condemning = garbage.condemnLooseChunks(bench.sql, now(), 100);
    await gate.blocked(2);
    await gate.open();
    await removing;
    expect(await condemning).toBe(1);
    expect(await stateOf(chunkId)).toBe("condemned");
  });
});

describe("a dropped object", () => {
  const dataset = async (): Promise<string> => {
    const rows = await bench.sql.query({
      text: "insert into datasets (owner_id, name, schema) values ($1, 'd', '{}') returning id",
      values: [bench.ownerId],
    });
    return rows[0]?.["id"] as string;
  };
  const use = async (sql: Sql, objectId: string): Promise<unknown> => {
    const values = [await dataset(), objectId, new Uint8Array(32)];
    const text = `insert into dataset_files (dataset_id, file_index, object_id, path_in_dataset, content_hash, size_bytes)
      values ($1, 0, $2, 'p', $3, 1)`;
    return sql.transaction([{ text, values }]);
  };
  const exists = async (objectId: string): Promise<boolean> =>
    (await bench.sql.query({ text: "select from extents where object_id = $1", values: [objectId] }))
      .length === 1;

  test("that a dataset is about to use stays, with its bytes", async () => {
    const { objectId } = await stored("e");
    await dropObjects(bench.sql, bench.bucketId, ["e"]);
    const using = use(gate.sql, objectId);
    await gate.reached();
    const deleting = garbage.deleteDroppedObjects(bench.sql, 100);
    await gate.blocked(2);
    await gate.open();
    await using;
    expect(await deleting).toBe(0);
    expect(await exists(objectId)).toBe(true);
    await bench.sql.query({ text: "delete from datasets", values: [] });
  });

  test("that is about to be deleted cannot be used any more", async () => {
    const { objectId } = await stored("f");
    await dropObjects(bench.sql, bench.bucketId, ["f"]);
    const deleting = garbage.deleteDroppedObjects(gate.sql, 100);
    await gate.reached();
    const using = use(bench.sql, objectId).catch((error: unknown) => error);
    await gate.blocked(2);
    await gate.open();
    expect(await deleting).toBeGreaterThanOrEqual(1);
    expect(await using).toMatchObject({ state: "23503" });
    expect(await exists(objectId)).toBe(false);
  });
});

describe("an intent that lapsed", () => {
  /** Sends a part, and acts right before its commit. */
  async function sendPart(
    key: string,
    beforeCommit: (commit: PartCommit) => Promise<unknown>,
    sql = bench.sql,
  ): Promise<unknown> {
    const deps = bench.deps();
    const { id } = await createUpload(deps, { bucketId: bench.bucketId, kind: "object", key });
    const commitPart = async (commit: PartCommit): ReturnType<typeof chunks.commitPart> => {
      await beforeCommit(commit);
      return chunks.commitPart(sql, commit);
    };
    return putWhole(bench, { ...deps, catalog: { ...deps.catalog, commitPart } }, id, 1, bytes);
  }
  const lapse = (): Promise<number> =>
    garbage.condemnLapsedIntents(bench.sql, new Date(bench.clock.time + 2 * HOUR), now(), 100);

  test("and was condemned cannot be committed", async () => {
    await expect(sendPart("g", lapse)).rejects.toMatchObject({ code: "unavailable" });
  });

  test("but is being committed is not condemned", async () => {
    const sending = sendPart("h", async () => {}, gate.sql);
    await gate.reached();
    expect(await lapse()).toBe(0);
    await gate.open();
    await sending;
  });
});

describe("a commit whose answer is lost", () => {
  const lost = new DataStreamError("unavailable", "no answer");
  async function send(key: string, commitPart: (commit: PartCommit) => Promise<never>): Promise<unknown> {
    const deps = bench.deps();
    const { id } = await createUpload(deps, { bucketId: bench.bucketId, kind: "object", key });
    return putWhole(bench, { ...deps, catalog: { ...deps.catalog, commitPart } }, id, 1, bytes).then(
      () => "acknowledged",
      (error: DataStreamError) => error.code,
    );
  }

  test("while it is under way is waited for", async () => {
    let commit: Promise<unknown> | undefined;
    const sending = send("i", async (part) => {
      commit = chunks.commitPart(gate.sql, part);
      await gate.reached();
      throw lost;
    });
    await gate.blocked(2);
    await gate.open();
    expect(await sending).toBe("acknowledged");
    expect(await commit).toBe("committed");
  });

  test("before it began can never take effect", async () => {
    let late: PartCommit | undefined;
    const outcome = await send("j", async (part) => {
      late = part;
      throw lost;
    });
    expect(outcome).toBe("unavailable");
    expect(await chunks.commitPart(bench.sql, late as PartCommit)).toEqual({ refused: "lapsed" });
  });
});

describe("completions", () => {
  const staged = async (key: string, seed: number): Promise<string> => {
    const deps = bench.deps();
    const { id } = await createUpload(deps, { bucketId: bench.bucketId, kind: "object", key });
    await putWhole(bench, deps, id, 1, patterned(50, seed));
    return id;
  };
  const complete = (uploadId: string, sql = bench.sql): ReturnType<typeof completeUpload> =>
    completeUpload(bench.deps({ sql }), { uploadId, ownerId: bench.ownerId, parts: 1 });

  test("of one key at once all succeed, and one of them stays", async () => {
    const ids = await Promise.all(Array.from({ length: 8 }, (_, i) => staged("k", i)));
    await gate.open();
    const results = await Promise.all(ids.map((id) => complete(id)));
    const hashes = results.map(({ object }) => object?.content_hash);
    const last = await readBack(bench, "k");
    expect(hashes).toContain(
      Buffer.from(bench.deps().kernels.blake3.hash(last as Uint8Array)).toString("hex"),
    );
    const rows = await bench.sql.query({
      text: "select state from objects where key = 'k' and state <> 'dropped'",
      values: [],
    });
    expect(rows).toEqual([{ state: "live" }]);
  });

  test("of one upload at once answer the same", async () => {
    const id = await staged("l", 1);
    const first = complete(id, gate.sql);
    await gate.reached();
    const second = complete(id);
    await gate.blocked(2);
    await gate.open();
    expect(await second).toEqual(await first);
  });

  test("look again when a part came after they looked", async () => {
    const id = await staged("m", 1);
    const deps = bench.deps();
    let looks = 0;
    const listParts: typeof deps.catalog.listParts = async (uploadId) => {
      const parts = await deps.catalog.listParts(uploadId);
      if (looks++ === 0) await putWhole(bench, deps, id, 1, patterned(60, 2));
      return parts;
    };
    await completeUpload(
      { ...deps, catalog: { ...deps.catalog, listParts } },
      { uploadId: id, ownerId: bench.ownerId, parts: 1 },
    );
    expect(looks).toBe(2);
    expect(await readBack(bench, "m")).toEqual(patterned(60, 2));
  });
});

test("garbage collection beside uploads, overwrites and deletes harms none of them", async () => {
  await gate.open();
  const expected = new Map<string, Uint8Array>();
  const finished = new AbortController();
  const collecting = (async () => {
    for (let i = 0; !finished.signal.aborted; i++)
      await collectGarbage(bench.deps(), { now: bench.clock.time + (i % 2) * HOUR, graceMs: HOUR / 2 });
  })();
  const client = async (name: string): Promise<void> => {
    for (let round = 0; round < 8; round++) {
      const key = `stress/${name}/${round % 3}`;
      const body = patterned(1 + round * 997, round);
      await upload(bench, bench.deps(), { kind: "object", key }, [body]);
      expected.set(key, body);
      if (round % 4 !== 3) continue;
      await dropObjects(bench.sql, bench.bucketId, [key]);
      expected.delete(key);
    }
  };
  await Promise.all(["a", "b", "c"].map(client)).finally(() => finished.abort());
  await collecting;
  const found = [...(await readAll(bench))].filter(([key]) => key.startsWith("stress/"));
  expect(new Map(found)).toEqual(new Map([...expected].toSorted(([a], [b]) => (a < b ? -1 : 1))));
  await collectAll(bench);
  await expectNoOrphans(bench);
});

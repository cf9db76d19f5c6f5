import { randomUUID } from "node:crypto";
import { putShare, removeShare, type ShareRow } from "../../catalog/shares.ts";
import { DataStreamClient } from "../../client/client.ts";
import { addUser } from "../api/users.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ShuffleMode } from "../../proto/index.ts";
import {
  addDataset,
  noise,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "./fixture.ts";
import { acknowledge, ackOf, readAll, WireError, WireStream, type StreamInit } from "./wire.ts";

let gateway: StreamGateway;
let dataset: TestDataset;
let other: TestDataset;
let base: { datasetId: string; accessToken: string; batchSize: number };
beforeAll(async () => {
  gateway = await startStreamGateway();
  dataset = await addDataset(
    gateway,
    noiseFiles(20, () => 64),
  );
  other = await addDataset(
    gateway,
    noiseFiles(3, () => 10),
  );
  base = { datasetId: dataset.id, accessToken: (await dataset.token()).token, batchSize: 4 };
});
afterAll(() => gateway.stop());

/** Every refusal comes before the first byte of a batch. */
async function refused(init: StreamInit): Promise<{ code: string | undefined; message: string }> {
  const { batches, end } = await readAll(gateway.url, { ...base, ...init });
  expect(batches).toEqual([]);
  return { code: end.code, message: end.message };
}

describe("fields", () => {
  test.each<[string, StreamInit, RegExp]>([
    ["batch_size 0", { batchSize: 0 }, /^batch_size: must be at least 1, not 0/],
    ["batch_size negative", { batchSize: -3 }, /^batch_size: must be at least 1, not -3/],
    ["batch_size too large", { batchSize: 65_537 }, /^batch_size: .* 65536, not 65537/],
    ["start_index at the end", { startIndex: 20n }, /^start_index: 20 is past the end: .* position is 19/],
    ["start_index negative", { startIndex: -1n }, /^start_index: .*, not -1/],
    ["start_index beyond numbers", { startIndex: 2n ** 60n }, /^start_index: /],
    ["rank", { rank: 2, worldSize: 2 }, /^rank: must be from 0 to 1 for world_size 2, not 2/],
    ["rank without a world", { rank: 1 }, /^rank: must be from 0 to 0 for world_size 1, not 1/],
    ["world_size", { worldSize: 65_537 }, /^world_size: .* 65536, not 65537/],
    ["shuffle_mode", { shuffleMode: 9 as ShuffleMode }, /^shuffle_mode: has no value 9; known are /],
    [
      "shuffle against mode",
      { shuffle: true, shuffleMode: ShuffleMode.SHUFFLE_SEQUENTIAL },
      /^shuffle: contradicts/,
    ],
    ["tail", { tail: 7 as never }, /^tail: has no value 7/],
    ["batch_hash_mode", { batchHashMode: 5 as never }, /^batch_hash_mode: has no value 5/],
    [
      "processing_hash",
      { processingHash: new Uint8Array(31) },
      /^processing_hash: must be empty or have 32 bytes, not 31/,
    ],
    ["prefetch_batches", { prefetchBatches: -1 }, /^prefetch_batches: must not be negative/],
    [
      "block_size without blocks",
      { blockSize: 3, shuffle: true },
      /^block_size: is for shuffle_mode SHUFFLE_BLOCK/,
    ],
    [
      "lanes",
      { shuffleMode: ShuffleMode.SHUFFLE_BLOCK, lanes: 1025 },
      /^lanes: must be a whole number from 1 to 1024/,
    ],
    [
      "blocks that take too much memory",
      { shuffleMode: ShuffleMode.SHUFFLE_BLOCK, blockSize: 10_000, lanes: 1000, blocksPerGroup: 10 },
      /^block_size: .* are allowed/,
    ],
    ["stream_id too long", { streamId: "x".repeat(129) }, /^stream_id: must have at most 128 characters/],
    ["stream_id with a control character", { streamId: "a\nb" }, /^stream_id: /],
    [
      "resume_batch_index",
      { resumeBatchIndex: 6n },
      /^resume_batch_index: 6 is past the end: this rank has 5 batches/,
    ],
    [
      "filter that selects nothing",
      { filter: { prefix: "no/" } },
      /^filter: no file of the dataset passes it/,
    ],
    ["filter with a NUL", { filter: { prefix: "a\0" } }, /^filter\.prefix: contains a NUL/],
    ["glob with a NUL", { filter: { globs: ["a\0b"] } }, /^filter\.globs\[0\]: .*contains a NUL/],
    ["filter that is no glob", { filter: { globs: ["!x"] } }, /^filter\.globs\[0\]: .*negated/],
    [
      "start_index past a filter's end",
      { filter: { prefix: "class-1/" }, startIndex: 4n },
      /^start_index: 4 is past the end: there are 4/,
    ],
  ])("%s", async (_, init, message) => {
    expect(await refused(init)).toEqual({
      code: "invalid_argument",
      message: expect.stringMatching(message),
    });
  });

  test("max_trust_level", async () => {
    expect((await refused({ maxTrustLevel: 5 })).code).toBe("invalid_argument");
    expect((await refused({ maxTrustLevel: -1 })).code).toBe("invalid_argument");
  });

  test("an item or a batch over the limit, from stored sizes", async () => {
    const large = await addDataset(
      gateway,
      [{ path: "a.bin", bytes: noise(3 * 1024 * 1024, 1) }, ...noiseFiles(30, () => 10)],
      { chunkBytes: 1024 * 1024 },
    );
    const { token } = await large.token();
    const mine = { datasetId: large.id, accessToken: token };
    // The largest item times the batch is over the limit, the sum of the largest items is not.
    expect((await readAll(gateway.url, { ...mine, batchSize: 31 })).batches).toHaveLength(1);
    await gateway.database.sql.query({
      text: "UPDATE dataset_files SET size_bytes = 3000000 WHERE dataset_id = $1",
      values: [large.id],
    });
    expect(await refused({ ...mine, batchSize: 31 })).toEqual({
      code: "invalid_argument",
      message: expect.stringMatching(
        /^batch_size: a batch of 31 items .* can have 93000000 bytes; 33554432 are allowed/,
      ),
    });
    await gateway.database.sql.query({
      text: "UPDATE datasets SET max_item_bytes = 33554433 WHERE id = $1",
      values: [large.id],
    });
    expect(await refused({ ...mine, batchSize: 1 })).toEqual({
      code: "invalid_argument",
      message: expect.stringContaining("its largest item has 33554433 bytes; items of at most 33554432"),
    });
  });

  test("of an acknowledgement", async () => {
    const streamId = randomUUID();
    const init = { ...base, streamId };
    const { batches } = await readAll(gateway.url, init);
    const good = ackOf(init, batches[1]!);
    const codeOf = async (change: object): Promise<string> => {
      try {
        await acknowledge(gateway.url, { ...good, ...change });
        return "ok";
      } catch (error) {
        if (error instanceof WireError) return `${error.code}: ${error.message}`;
        throw error;
      }
    };
    expect(await codeOf({ streamId: "" })).toMatch(/^invalid_argument: stream_id: /);
    expect(await codeOf({ streamId: "x".repeat(129) })).toMatch(/^invalid_argument: stream_id: /);
    expect(await codeOf({ transcriptHead: new Uint8Array(31) })).toMatch(
      /^invalid_argument: transcript_head: /,
    );
    expect(await codeOf({ batchIndex: 5n })).toMatch(
      /^invalid_argument: batch_index: 5 was not sent yet: 5 batches/,
    );
    expect(await codeOf({ streamId: randomUUID() })).toMatch(/^failed_precondition: stream_id: /);
    expect(await codeOf({ rank: 1 })).toMatch(/^failed_precondition: lease: /);
    expect(await codeOf({ epoch: 1 })).toMatch(/^failed_precondition: lease: /);
    expect(await codeOf({ transcriptHead: batches[0]!.transcriptHead })).toMatch(
      /^data_loss: transcript_head: .* after batch 1 /,
    );
    expect(await codeOf({ accessToken: "x" })).toMatch(/^unauthenticated: /);
    expect(await codeOf({})).toBe("ok");
  });
});

describe("access", () => {
  const noWord = expect.objectContaining({ code: "unauthenticated" });

  test("no token, a wrong one, an expired one, a revoked one", async () => {
    expect(await refused({ accessToken: "" })).toEqual(noWord);
    expect(await refused({ accessToken: "eyJ.nonsense.x" })).toEqual(noWord);
    expect(await refused({ accessToken: gateway.owner.apiKey })).toEqual(noWord);
    const now = Math.floor(Date.now() / 1000);
    const expired = await dataset.token({ issuedAt: now - 7200, expiresAt: now - 60 });
    expect(await refused({ accessToken: expired.token })).toEqual(noWord);
    const revoked = await dataset.token();
    await revoke(revoked.id);
    expect(await refused({ accessToken: revoked.token })).toEqual(noWord);
  });

  test("another dataset's token, whether that dataset exists or not", async () => {
    const { token } = await other.token();
    const first = await refused({ accessToken: token });
    const second = await refused({ accessToken: token, datasetId: randomUUID() });
    expect(first.code).toBe("permission_denied");
    expect(second).toEqual(first);
  });

  test("a token without the right to stream", async () => {
    const { token } = await dataset.token({ scopes: ["read"] });
    expect(await refused({ accessToken: token })).toEqual({
      code: "permission_denied",
      message: expect.stringContaining("stream"),
    });
  });

  test("a token that is revoked while it streams", async () => {
    const many = await addDataset(
      gateway,
      noiseFiles(60, () => 200_000),
      { chunkBytes: 1024 * 1024 },
    );
    const { id, token } = await many.token();
    const stream = await WireStream.open(gateway.url, {
      datasetId: many.id,
      accessToken: token,
      batchSize: 2,
    });
    expect(await stream.next()).toBeDefined();
    await revoke(id);
    let count = 1;
    while ((await stream.next()) !== undefined) count++;
    expect(stream.end).toMatchObject({ code: "unauthenticated", continuation: undefined });
    expect(count).toBeLessThan(40);
  });

  test("a share that is withdrawn while its holder streams", async () => {
    const many = await addDataset(
      gateway,
      noiseFiles(60, () => 200_000),
      { chunkBytes: 1024 * 1024 },
    );
    const friend = await addUser(gateway, "friend");
    const grantedBy = gateway.owner.userId;
    const { sql } = gateway.database;
    const given = { datasetId: many.id, grantedBy, userId: friend.userId, expiresAt: null };
    const { id } = (await putShare(sql, { ...given, permissions: ["stream"] })) as ShareRow;
    const client = new DataStreamClient({ gateway: gateway.url, apiKey: friend.apiKey });
    const { token } = await client.datasets.createToken(many.id, { scopes: ["stream"] });
    const stream = await WireStream.open(gateway.url, {
      datasetId: many.id,
      accessToken: token,
      batchSize: 2,
      maxTrustLevel: 4,
    });
    expect(await stream.next()).toBeDefined();
    expect(await removeShare(sql, id, grantedBy)).toBe(true);
    let count = 1;
    while ((await stream.next()) !== undefined) count++;
    expect(stream.end).toMatchObject({ code: "unauthenticated", continuation: undefined });
    expect(count).toBeLessThan(30);
  });

  test("a dataset that is deleted while it streams", async () => {
    const many = await addDataset(
      gateway,
      noiseFiles(60, () => 200_000),
      { chunkBytes: 1024 * 1024 },
    );
    const { token } = await many.token();
    const stream = await WireStream.open(gateway.url, {
      datasetId: many.id,
      accessToken: token,
      batchSize: 2,
    });
    expect(await stream.next()).toBeDefined();
    await gateway.database.sql.query({ text: "DELETE FROM datasets WHERE id = $1", values: [many.id] });
    while ((await stream.next()) !== undefined);
    expect(stream.end?.code).toBe("unauthenticated");
  });

  test("a dataset that is trusted less than the request demands, naming both levels", async () => {
    const [stranger] = await gateway.database.sql.query({
      text: "INSERT INTO users (name, role) VALUES ('stranger', 'owner') RETURNING id",
      values: [],
    });
    const foreign = await addDataset(
      gateway,
      noiseFiles(4, () => 10),
    );
    await gateway.database.sql.query({
      text: "UPDATE datasets SET owner_id = $1 WHERE id = $2",
      values: [stranger?.["id"] as string, foreign.id],
    });
    await gateway.database.sql.query({
      text: "SELECT put_share($1, $2, $3, '{read,stream}', NULL)",
      values: [foreign.id, stranger?.["id"] as string, gateway.owner.userId],
    });
    const { token } = await foreign.token();
    const init = { datasetId: foreign.id, accessToken: token };
    const { code, message } = await refused({ ...init, maxTrustLevel: 2 });
    expect(code).toBe("permission_denied");
    expect(message).toMatch(/4|untrusted/);
    expect(message).toMatch(/2|verified/);
    expect((await readAll(gateway.url, { ...base, ...init, maxTrustLevel: 4 })).batches).toHaveLength(1);
  });

  async function revoke(id: string): Promise<void> {
    await gateway.database.sql.query({
      text: "UPDATE data_access_tokens SET revoked_at = now() WHERE id = $1",
      values: [id],
    });
  }
});

describe("parameters of a stream that runs", () => {
  test.each<[string, StreamInit]>([
    ["seed", { seed: 2n }],
    ["batch_size", { batchSize: 5 }],
    ["shuffle_mode", { shuffle: false }],
    ["tail", { tail: 1 }],
    ["batch_hash_mode", { batchHashMode: 1 }],
    ["filter", { filter: { prefix: "class-1/" } }],
    ["processing_hash", { processingHash: new Uint8Array(32).fill(1) }],
  ])("%s is fixed by the first request", async (field, change) => {
    const first = { ...base, streamId: randomUUID(), shuffle: true, seed: 1n };
    await readAll(gateway.url, first);
    const { code, message } = await refused({ ...first, ...change });
    expect(code).toBe("failed_precondition");
    expect(message.startsWith(`${field}: `)).toBe(true);
  });

  test("the stream of another user has the same name and nothing else in common", async () => {
    const streamId = randomUUID();
    const { batches } = await readAll(gateway.url, { ...base, streamId });
    const again = await readAll(gateway.url, {
      ...base,
      streamId,
      datasetId: other.id,
      accessToken: (await other.token()).token,
    });
    expect(batches[0]?.lease).toBe(1n);
    expect(again.batches[0]?.lease).toBe(1n);
  });
});

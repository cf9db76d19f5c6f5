/** Sharing over REST: who may give what to whom, and what ends with it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Owner } from "../support/gateway.ts";
import { documentedClient, type DocumentedClient, type JsonAnswer } from "../api/documented.ts";
import { addUser } from "../api/users.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";
import { readAll } from "../stream/wire.ts";

let gateway: StreamGateway;
let api: DocumentedClient;
let dataset: TestDataset;
let users: Record<"bob" | "carol" | "dave", Owner>;
beforeAll(async () => {
  gateway = await startStreamGateway();
  api = await documentedClient(gateway);
  dataset = await addDataset(
    gateway,
    noiseFiles(4, () => 100),
  );
  users = {
    bob: await addUser(gateway, "bob"),
    carol: await addUser(gateway, "carol"),
    dave: await addUser(gateway, "dave"),
  };
});
afterAll(() => gateway.stop());

type Name = "owner" | keyof typeof users;
const as = (name: Name): Record<string, string> =>
  name === "owner" ? {} : { authorization: `Bearer ${users[name].apiKey}` };

const share = (
  from: Name,
  to: string,
  permissions: readonly string[],
  expires_at?: string,
): Promise<JsonAnswer> =>
  api.json(
    "POST",
    `/api/datasets/${dataset.id}/shares`,
    { user: to, permissions, ...(expires_at !== undefined && { expires_at }) },
    as(from),
  );
const unshare = (by: Name, id: string): Promise<JsonAnswer> =>
  api.json("DELETE", `/api/shares/${id}`, undefined, as(by));
const token = (by: Name, scopes: readonly string[]): Promise<JsonAnswer> =>
  api.json("POST", `/api/datasets/${dataset.id}/tokens`, { scopes }, as(by));
const describeAs = async (by: Name): Promise<number> =>
  (await api.json("GET", `/api/datasets/${dataset.id}`, undefined, as(by))).status;
const isValid = async (value: string): Promise<boolean> =>
  (await api.json("POST", "/api/tokens/verify", { token: value })).body.valid as boolean;

async function given(...arguments_: Parameters<typeof share>): Promise<string> {
  const { status, body } = await share(...arguments_);
  expect(status).toBe(201);
  return body.id as string;
}

async function issued(...arguments_: Parameters<typeof token>): Promise<string> {
  const { status, body } = await token(...arguments_);
  expect(status).toBe(201);
  return body.token as string;
}

test("a share opens the dataset, and its end closes it with tokens and shares made through it", async () => {
  expect(await describeAs("bob")).toBe(404);
  const toBob = await given("owner", "bob", ["read", "stream", "reshare"]);
  const toCarol = await given("bob", users.carol.userId, ["stream"]);
  const bobs = await issued("bob", ["read", "stream"]);
  const carols = await issued("carol", ["stream"]);
  const owners = await issued("owner", ["read"]);
  const streamed = await readAll(gateway.url, {
    datasetId: dataset.id,
    accessToken: carols,
    batchSize: 4,
    maxTrustLevel: 4,
  });
  expect(streamed.end.code).toBeUndefined();
  expect(streamed.batches).toHaveLength(1);

  expect((await unshare("dave", toBob)).status).toBe(404);
  expect((await unshare("carol", toBob)).status).toBe(404);
  expect((await unshare("owner", toBob)).status).toBe(204);
  for (const name of ["bob", "carol"] as const) expect(await describeAs(name)).toBe(404);
  expect(await Promise.all([bobs, carols, owners].map(isValid))).toEqual([false, false, true]);
  expect((await unshare("owner", toCarol)).status).toBe(404);
  // Being given the same again does not wake what ended.
  await given("owner", "bob", ["read", "stream", "reshare"]);
  expect(await isValid(bobs)).toBe(false);
  expect(await describeAs("carol")).toBe(404);
});

describe("who passes a share on", () => {
  const SOON = new Date(Date.now() + 3_600_000).toISOString();
  const LATER = new Date(Date.now() + 7_200_000).toISOString();

  test("gives no more than one share of theirs carries, no longer than it lasts", async () => {
    await given("owner", "bob", ["read"]);
    expect((await share("bob", "carol", ["read"])).status).toBe(403);
    await given("owner", "bob", ["read", "reshare"], SOON);
    expect((await share("bob", "carol", ["stream"])).status).toBe(403);
    expect((await share("bob", "carol", ["read", "stream"])).status).toBe(403);
    expect((await share("bob", "carol", ["read"], LATER)).status).toBe(403);
    const { status, body } = await share("bob", "carol", ["read"]);
    expect(status).toBe(201);
    expect(body).toMatchObject({
      user: "carol",
      user_id: users.carol.userId,
      granted_by: "bob",
      permissions: ["read"],
      expires_at: SOON,
    });
    expect((await share("carol", "dave", ["read"])).status).toBe(403);
    expect((await share("dave", "carol", ["read"])).status).toBe(404);
  });

  test("gives nothing to those whom they have it from, nor to themselves", async () => {
    await given("owner", "bob", ["read", "reshare"]);
    await given("bob", "carol", ["read", "reshare"]);
    expect((await share("carol", "bob", ["read"])).status).toBe(403);
    for (const [from, to] of [
      ["bob", "owner"],
      ["bob", "bob"],
      ["owner", "owner"],
    ] as const)
      expect((await share(from, to, ["read"])).body).toMatchObject({
        code: "invalid_argument",
        field: "user",
      });
    expect((await share("owner", "nobody", ["read"])).status).toBe(404);
  });

  test("may take it back, and who has it may give it up", async () => {
    await given("owner", "bob", ["read", "reshare"]);
    const toCarol = await given("bob", "carol", ["read", "reshare"]);
    const toDave = await given("carol", "dave", ["read"]);
    expect((await unshare("bob", toDave)).status).toBe(204);
    expect(await describeAs("dave")).toBe(404);
    await given("carol", "dave", ["read"]);
    expect((await unshare("carol", toCarol)).status).toBe(204);
    for (const name of ["carol", "dave"] as const) expect(await describeAs(name)).toBe(404);
    expect(await describeAs("bob")).toBe(200);
  });
});

test("a share that grows keeps what hangs on it; one that shrinks ends it", async () => {
  const first = await given("owner", "bob", ["read", "reshare"]);
  const bobs = await issued("bob", ["read"]);
  await given("bob", "carol", ["read"]);
  expect(await given("owner", "bob", ["read", "stream", "reshare"])).toBe(first);
  expect([await isValid(bobs), await describeAs("carol")]).toEqual([true, 200]);
  expect(await given("owner", "bob", ["read", "stream"])).not.toBe(first);
  expect([await isValid(bobs), await describeAs("carol"), await describeAs("bob")]).toEqual([
    false,
    404,
    200,
  ]);
});

test("shares of several givers add up, and each ends by itself", async () => {
  await given("owner", "bob", ["read", "reshare"]);
  const toDave = await given("owner", "dave", ["stream"]);
  await given("bob", "dave", ["read"]);
  expect((await token("dave", ["read"])).status).toBe(201);
  const streams = await issued("dave", ["stream"]);
  // No one share carries both: a token hangs on one.
  expect((await token("dave", ["read", "stream"])).body.code).toBe("aborted");
  expect((await unshare("owner", toDave)).status).toBe(204);
  expect(await isValid(streams)).toBe(false);
  expect((await token("dave", ["read"])).status).toBe(201);
});

test("the owner sees all shares, others theirs and what hangs on them, page by page", async () => {
  const pairsSeen = async (by: Name): Promise<string[]> => {
    const seen: string[] = [];
    for (let cursor = ""; ;) {
      const { status, body } = await api.json(
        "GET",
        `/api/datasets/${dataset.id}/shares?limit=1${cursor}`,
        undefined,
        as(by),
      );
      if (status !== 200) return [String(status)];
      seen.push(
        ...(body.shares as { granted_by: string; user: string }[]).map(
          (each) => `${each.granted_by}→${each.user}`,
        ),
      );
      if (body.next_cursor === null) return seen.toSorted();
      cursor = `&cursor=${body.next_cursor as string}`;
    }
  };
  for (const { id } of (await api.json("GET", `/api/datasets/${dataset.id}/shares`)).body.shares as {
    id: string;
  }[])
    await unshare("owner", id);
  await given("owner", "bob", ["read", "reshare"]);
  await given("owner", "dave", ["read"]);
  await given("bob", "carol", ["read"]);
  expect(await pairsSeen("owner")).toEqual(["bob→carol", "owner→bob", "owner→dave"]);
  expect(await pairsSeen("bob")).toEqual(["bob→carol", "owner→bob"]);
  expect(await pairsSeen("carol")).toEqual(["bob→carol"]);
  expect(await pairsSeen("dave")).toEqual(["owner→dave"]);
});

test.each([
  [{ permissions: [] }, "permissions"],
  [{ permissions: ["reshare"] }, "permissions"],
  [{ permissions: ["read", "manage"] }, "permissions"],
  [{ permissions: ["read"], expires_at: "2020-01-01T00:00:00Z" }, "expires_at"],
  [{ permissions: ["read"], expires_at: "tomorrow" }, "expires_at"],
  [{ permissions: ["read"], user: "" }, "user"],
  [{ permissions: ["read"], extra: 1 }, "extra"],
])("%j is refused by field", async (change, field) => {
  const { status, body } = await api.json("POST", `/api/datasets/${dataset.id}/shares`, {
    user: "bob",
    ...change,
  });
  expect([status, body.code, body.field]).toEqual([400, "invalid_argument", field]);
});

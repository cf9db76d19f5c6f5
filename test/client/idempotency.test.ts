/** What must not happen twice, over connections that lose answers. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { all } from "../../client/pages.ts";
import { keyPairOf } from "../../core/trust/ed25519.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(() => gateway.stop());

/** A client that loses the first two answers to each POST: what was asked is done, and nobody is told. */
function forgetful(): { client: DataStreamClient; lost: () => number } {
  const tries = new Map<string, number>();
  let lost = 0;
  const client = new DataStreamClient({
    gateway: gateway.url,
    apiKey: gateway.owner.apiKey,
    retry: { attempts: 4, firstDelayMs: 0, maxDelayMs: 0 },
    fetch: async (input, init) => {
      const answer = await fetch(input, init);
      const key = new Headers(init?.headers).get("idempotency-key");
      if (init?.method !== "POST" || key === null) return answer;
      const count = (tries.get(key) ?? 0) + 1;
      tries.set(key, count);
      if (count > 2) return answer;
      lost += 1;
      await answer.body?.cancel();
      throw new TypeError("connection reset");
    },
  });
  return { client, lost: () => lost };
}

test("what is created over a connection that loses answers exists once", async () => {
  const { client, lost } = forgetful();
  await client.objects.ensureBucket("words");
  await client.uploadObject({ bucket: "words", key: "a.txt" }, new Blob(["a"]));
  const request = { name: "words", files: ["words/*"], schema: { type: "text", format: "txt" } };
  expect(await client.datasets.create(request)).toMatchObject({ version: 1 });
  expect(await client.datasets.create(request)).toMatchObject({ version: 2 });
  expect(await client.datasets.versions("words")).toHaveLength(2);

  const token = await client.datasets.createToken("words@2");
  expect((await all(client.datasets.tokens())).map(({ id }) => id)).toEqual([token.id]);
  const reader = new DataStreamClient({ gateway: gateway.url, accessToken: token.token });
  expect(await all(reader.datasets.files("words@2"))).toHaveLength(1);

  const { id } = await client.users.createApiKey("me", "laptop");
  expect((await all(client.users.apiKeys("me"))).filter(({ name }) => name === "laptop")).toMatchObject([
    { id },
  ]);
  // Registering a key twice is refused, and a proof of possession is good once.
  const signing = keyPairOf(new Uint8Array(32).fill(1));
  expect(await client.keys.register("laptop", signing)).toMatchObject({ name: "laptop" });
  expect(await all(client.keys.list())).toHaveLength(1);
  const node = keyPairOf(new Uint8Array(32).fill(2));
  expect(await client.nodes.register("node-1", node)).toMatchObject({ name: "node-1" });
  expect(await all(client.nodes.list())).toHaveLength(1);
  expect(await client.users.create("ada", "owner")).toMatchObject({ name: "ada" });
  expect(lost()).toBe(2 * 8); // an upload, two datasets, a token, an API key, a key, a node and a user
});

test("calls of their own go under keys of their own, and a refusal stays one", async () => {
  const { client } = forgetful();
  const ids = await Promise.all(
    [1, 2, 3].map(async () => (await client.users.createApiKey("me", "same")).id),
  );
  expect(new Set(ids).size).toBe(3);
  await expect(client.users.create("ada", "owner")).rejects.toMatchObject({ code: "already_exists" });
});

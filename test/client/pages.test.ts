import fc from "fast-check";
import { expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";

/** A client of a gateway that answers a page for each cursor, of which the first is empty. */
function clientOf(page: (cursor: string, url: URL) => Record<string, unknown>): DataStreamClient {
  return new DataStreamClient({
    gateway: "http://double.test",
    apiKey: "key",
    fetch: async (input) => {
      const url = new URL(input instanceof Request ? input.url : input);
      return Response.json(page(url.searchParams.get("cursor") ?? "", url));
    },
  });
}

async function drain(list: AsyncIterable<unknown>): Promise<unknown[]> {
  const items = [];
  for await (const item of list) items.push(item);
  return items;
}

/** Each list of the client, and the member that its items are in. */
const LISTS: readonly [string, (client: DataStreamClient) => AsyncIterable<unknown>, string][] = [
  ["datasets", (c) => c.datasets.list(), "/api/datasets"],
  ["files", (c) => c.datasets.files("a"), "/api/datasets/a/files"],
  ["tokens", (c) => c.datasets.tokens(), "/api/tokens"],
  ["shares", (c) => c.shares.list("a"), "/api/datasets/a/shares"],
  ["nodes", (c) => c.nodes.list(), "/api/training-nodes"],
  ["objects", (c) => c.objects.list("a"), "/api/objects"],
  ["public_datasets", (c) => c.registry.list(), "/api/public-datasets"],
  ["keys", (c) => c.keys.list(), "/api/keys"],
  ["known_keys", (c) => c.keys.known(), "/api/known-keys"],
  ["evidence", (c) => c.keys.evidence("a"), "/api/datasets/a/evidence"],
  ["users", (c) => c.users.list(), "/api/users"],
  ["api_keys", (c) => c.users.apiKeys("me"), "/api/users/me/api-keys"],
];

test.each(LISTS)("%s come page by page, and none without an end", async (member, list, path) => {
  const honest = clientOf((cursor, url) => {
    expect(url.pathname).toBe(path);
    return { [member]: [Number(cursor)], next_cursor: cursor === "2" ? null : String(Number(cursor) + 1) };
  });
  expect(await drain(list(honest))).toEqual([0, 1, 2]);
  const endless = clientOf((cursor) => ({ [member]: [cursor], next_cursor: cursor === "a" ? "b" : "a" }));
  await expect(drain(list(endless))).rejects.toMatchObject({
    code: "internal",
    message: `The gateway's list at ${path} comes back to a page that it gave before. Tell the operator.`,
  });
});

test("whatever the pages hold, every item comes once and in order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(fc.integer(), { maxLength: 3 }), { minLength: 1 }), async (lists) => {
      const client = clientOf((cursor) => {
        const at = Number(cursor);
        return { tokens: lists[at], ...(at + 1 < lists.length && { next_cursor: String(at + 1) }) };
      });
      expect(await drain(client.datasets.tokens())).toEqual(lists.flat());
    }),
    { numRuns: 100 },
  );
});

/** Sharing with an e-mail address: it reaches who verified it, and tells nobody whether there is someone. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { putPassword, verifyAddress } from "../../catalog/sign-in.ts";
import { documentedClient, type DocumentedClient, type JsonAnswer } from "../api/documented.ts";
import { addUser } from "../api/users.ts";
import type { Owner } from "../support/gateway.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";

let gateway: StreamGateway;
let api: DocumentedClient;
let dataset: TestDataset;
beforeAll(async () => {
  gateway = await startStreamGateway();
  api = await documentedClient(gateway);
  dataset = await addDataset(
    gateway,
    noiseFiles(2, () => 10),
  );
});
afterAll(() => gateway.stop());

const bearer = (user: Owner): Record<string, string> => ({ authorization: `Bearer ${user.apiKey}` });
const share = (
  from: Owner,
  user: string,
  permissions: readonly string[] = ["read", "stream"],
): Promise<JsonAnswer> =>
  api.json("POST", `/api/datasets/${dataset.id}/shares`, { user, permissions }, bearer(from));
const shares = async (by: Owner): Promise<{ id: string; user: string; user_id: string | null }[]> =>
  (await api.json("GET", `/api/datasets/${dataset.id}/shares`, undefined, bearer(by))).body.shares;
const reach = async (user: Owner): Promise<number> =>
  (await api.json("GET", `/api/datasets/${dataset.id}`, undefined, bearer(user))).status;
/** A user who claims an address that nobody has verified. */
async function claim(name: string, email: string): Promise<Owner> {
  const user = await addUser(gateway, name);
  await putPassword(gateway.database.sql, { userId: user.userId, email, password: "scrypt$x$y" });
  return user;
}
const verify = ({ userId }: Owner, email: string): Promise<boolean> =>
  verifyAddress(gateway.database.sql, userId, email);

test("a share opens nothing to who only claims the address, and all it carries from the verification on", async () => {
  const { status, body } = await share(gateway.owner, "Bob@Example.com");
  expect(status).toBe(201);
  expect(body).toMatchObject({ user: "bob@example.com", user_id: null, granted_by: "owner" });
  const bob = await claim("bob", "bob@example.com");
  expect(await reach(bob)).toBe(404);
  expect(await verify(bob, "bob@example.com")).toBe(true);
  expect(await reach(bob)).toBe(200);
  const token = await api.json(
    "POST",
    `/api/datasets/${dataset.id}/tokens`,
    { scopes: ["read"] },
    bearer(bob),
  );
  expect(token.status).toBe(201);
  expect(await shares(bob)).toMatchObject([{ id: body.id, user: "bob", user_id: bob.userId }]);
  expect(await shares(gateway.owner)).toMatchObject([
    { id: body.id, user: "bob@example.com", user_id: null },
  ]);

  expect((await api.json("DELETE", `/api/shares/${body.id}`)).status).toBe(204);
  expect(await reach(bob)).toBe(404);
  const verdict = await api.json("POST", "/api/tokens/verify", { token: token.body.token });
  expect(verdict.body.valid).toBe(false);
});

test("who has verified the address before has the share at once, also where another address is theirs later", async () => {
  const carol = await claim("carol", "carol@example.com");
  await verify(carol, "carol@example.com");
  await share(gateway.owner, "carol@example.com");
  expect(await reach(carol)).toBe(200);
  const { sql } = gateway.database;
  await putPassword(sql, { userId: carol.userId, email: "carol@new.example", password: "scrypt$x$y" });
  expect(await reach(carol)).toBe(200);
  // A new share with the old address is nobody's, and the share that was hers is replaced by it.
  await share(gateway.owner, "carol@example.com");
  expect(await reach(carol)).toBe(404);
});

test("the giver is answered alike whether the address is verified, claimed, unknown or above them", async () => {
  const known = await claim("known", "known@example.com");
  await verify(known, "known@example.com");
  await claim("claimed", "claimed@example.com");
  const reseller = await addUser(gateway, "reseller");
  await share(gateway.owner, "reseller", ["read", "reshare"]);
  await verify(gateway.owner, "owner@example.com");
  await verify(reseller, "reseller@example.com");

  const said: unknown[] = [];
  for (const name of ["known", "claimed", "unknown", "owner", "reseller"]) {
    const email = `${name}@example.com`;
    const first = await share(reseller, email, ["read"]);
    const again = await share(reseller, email, ["read"]);
    expect(again.body.id).toBe(first.body.id);
    const listed = (await shares(reseller)).filter(({ user }) => user === email);
    const removed = await api.json("DELETE", `/api/shares/${first.body.id}`, undefined, bearer(reseller));
    said.push(
      JSON.parse(
        JSON.stringify([first.status, first.body, again.status, listed, removed.status])
          .replaceAll(email, "ADDRESS")
          .replaceAll(first.body.id as string, "ID")
          .replaceAll(/"created_at":"[^"]*"/g, '"created_at":"TIME"'),
      ),
    );
  }
  for (const each of said) expect(each).toEqual(said[0]);
  expect(said[0]).toMatchObject([201, { user: "ADDRESS" }, 201, [{ user: "ADDRESS" }], 204]);
});

test("who stands above a share never comes to hold it", async () => {
  const giver = await addUser(gateway, "giver");
  await share(gateway.owner, "giver", ["read", "reshare"]);
  const { body } = await share(giver, "giver@example.com", ["read"]);
  await verify(giver, "giver@example.com");
  const { sql } = gateway.database;
  const [row] = await sql.query({
    text: "SELECT shared_with_user_id AS holder FROM dataset_shares WHERE id = $1",
    values: [body.id as string],
  });
  expect(row).toEqual({ holder: null });
});

test("what was passed on from a pending share is nothing: it can be passed on only by who holds it", async () => {
  const heir = await claim("heir", "heir@example.com");
  await share(gateway.owner, "heir@example.com", ["read", "reshare"]);
  expect((await share(heir, "dora@example.com", ["read"])).status).toBe(404);
  await verify(heir, "heir@example.com");
  const dora = await claim("dora", "dora@example.com");
  await verify(dora, "dora@example.com");
  expect((await share(heir, "dora@example.com", ["read"])).status).toBe(201);
  expect(await reach(dora)).toBe(200);
  const top = (await shares(gateway.owner)).find(({ user }) => user === "heir@example.com");
  expect((await api.json("DELETE", `/api/shares/${top?.id}`)).status).toBe(204);
  expect([await reach(heir), await reach(dora)]).toEqual([404, 404]);
});

test("a share and a verification at the same moment miss each other never", async () => {
  for (let round = 0; round < 20; round++) {
    const email = `race-${round}@example.com`;
    const user = await claim(`race-${round}`, email);
    await Promise.all([share(gateway.owner, email), verify(user, email)]);
    expect(await reach(user)).toBe(200);
  }
});

test.each(["@", "a@", "@b", "a b@c", `${"a".repeat(250)}@b.cd`])(
  "%s is refused as an address",
  async (user) => {
    expect(await share(gateway.owner, user)).toMatchObject({ status: 400, body: { field: "user" } });
  },
);

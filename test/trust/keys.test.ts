/** Keys, known keys and signatures through the gateway, every answer held against its own description. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../core/bytes.ts";
import { utf8 } from "../../core/text.ts";
import { DATASET_STATEMENT_TYPE } from "../../core/trust/dataset-statement.ts";
import { type Envelope, signEnvelope } from "../../core/trust/dsse.ts";
import { keyPairOf } from "../../core/trust/ed25519.ts";
import { KEY_PROOF_TYPE, type KeyChallenge, signKeyProof } from "../../core/trust/key-proof.ts";
import { documentedClient, type DocumentedClient, type JsonAnswer } from "../api/documented.ts";
import type { TestGateway } from "../support/gateway.ts";
import {
  clientOf,
  newKey,
  ownerOf,
  person,
  type Person,
  type RegisteredKey,
  share,
  signed,
  startWords,
} from "./fixture.ts";

let gateway: TestGateway;
let api: DocumentedClient;
let ada: Person;
let eve: Person;
let bob: Person;
let [v1, v2] = ["", ""];

beforeAll(async () => {
  gateway = await startWords(4);
  api = await documentedClient(gateway);
  ada = ownerOf(gateway);
  [eve, bob] = [await person(gateway, "eve"), await person(gateway, "bob")];
  const versions = await ada.client.datasets.versions("words");
  [v2, v1] = versions.map(({ id }) => id) as [string, string];
  for (const user of [eve, bob]) await share(gateway, v2, user.userId);
});
afterAll(() => gateway.stop());

const as = (user: Person): Record<string, string> => ({
  authorization: `Bearer ${user.apiKey}`,
});
const call = (user: Person, method: string, path: string, body?: unknown): Promise<JsonAnswer> =>
  api.json(method, path, body, as(user));
const levelFor = async (user: Person, id = v2): Promise<number> =>
  (await call(user, "GET", `/api/datasets/${id}`)).body.trust_level;

describe("registering a key", () => {
  const key = keyPairOf(new Uint8Array(32).fill(21));
  const challenge = async (user = ada): Promise<KeyChallenge> =>
    (await call(user, "GET", "/api/keys/challenge")).body;
  const register = (proof: Envelope, public_key = toHex(key.publicKey), user = ada): Promise<JsonAnswer> =>
    call(user, "POST", "/api/keys", { name: "laptop", public_key, proof });

  test("takes a proof of possession, once", async () => {
    const now = await challenge();
    const stranger = keyPairOf(new Uint8Array(32).fill(22));
    const forged: [string, Envelope][] = [
      ["by another key", signKeyProof(now, "signing-key", stranger)],
      ["of another user", signKeyProof(await challenge(eve), "signing-key", key)],
      ["for another gateway", signKeyProof({ ...now, audience: "urn:other" }, "signing-key", key)],
      ["for another purpose", signKeyProof(now, "training-node", key)],
      ["too old", signKeyProof({ ...now, issued_at: now.issued_at - 301 }, "signing-key", key)],
      ["from the future", signKeyProof({ ...now, issued_at: now.issued_at + 60 }, "signing-key", key)],
      ["that is no proof", signEnvelope(KEY_PROOF_TYPE, utf8("{}"), key)],
      ["of another type", signEnvelope(DATASET_STATEMENT_TYPE, utf8("{}"), key)],
    ];
    for (const [what, proof] of forged) {
      const { status, body } = await register(proof);
      expect([what, status, body.field]).toEqual([what, 400, "proof"]);
    }
    const proof = signKeyProof(now, "signing-key", key);
    const { status, body } = await register(proof);
    expect(status).toBe(201);
    expect(body).toMatchObject({ name: "laptop", public_key: toHex(key.publicKey), revoked_at: null });
    expect((await register(proof)).body).toMatchObject({ code: "already_exists", field: "public_key" });
  });

  test("refuses unsound keys by field", async () => {
    const proof = signKeyProof(await challenge(), "signing-key", key);
    for (const unsound of [
      "00".repeat(32),
      `01${"00".repeat(31)}`,
      "ff".repeat(32),
      `ee${"ff".repeat(30)}7f`,
    ])
      expect((await register(proof, unsound)).body).toMatchObject({ status: 400, field: "public_key" });
  });

  test("lists and revokes one's own keys alone", async () => {
    const { registered } = await newKey(eve, "desk");
    expect((await call(bob, "DELETE", `/api/keys/${registered.id}`)).status).toBe(404);
    expect((await call(eve, "DELETE", "/api/keys/nonsense")).status).toBe(404);
    const page = await call(eve, "GET", "/api/keys?limit=1");
    expect(page.body).toEqual({ keys: [registered], next_cursor: null });
    for (let i = 0; i < 2; i++)
      expect((await call(eve, "DELETE", `/api/keys/${registered.id}`)).status).toBe(204);
    const second = await newKey(eve, "desk");
    const first = await call(eve, "GET", "/api/keys?limit=1");
    expect(first.body.keys).toMatchObject([{ id: registered.id, revoked_at: expect.any(String) }]);
    const rest = await call(eve, "GET", `/api/keys?limit=1&cursor=${first.body.next_cursor}`);
    expect(rest.body).toEqual({ keys: [second.registered], next_cursor: null });
  });

  test("never takes a key twice, whoever holds it and though it was revoked", async () => {
    const { key: own, registered } = await newKey(eve, "twice");
    await call(eve, "DELETE", `/api/keys/${registered.id}`);
    for (const user of [eve, bob]) {
      const proof = signKeyProof(await challenge(user), "signing-key", own);
      const { body } = await register(proof, toHex(own.publicKey), user);
      expect(body).toMatchObject({ code: "already_exists", field: "public_key" });
    }
  });
});

describe("a signature", () => {
  test("counts for those who know its key", async () => {
    const { key, registered } = await newKey(ada, "signer");
    expect(await levelFor(eve)).toBe(4);
    expect(await levelFor(ada)).toBe(0);
    const added = await call(ada, "POST", `/api/datasets/${v2}/signatures`, {
      envelope: await signed(ada, v2, key),
    });
    expect(added.status).toBe(201);
    expect(added.body).toMatchObject({ kind: "signature", created_by: "owner", trust_level: 4 });

    // A stranger's key says nothing.
    expect([await levelFor(ada), await levelFor(eve), await levelFor(bob)]).toEqual([0, 4, 4]);
    const known = { name: "ada", public_key: toHex(key.publicKey) };
    expect((await call(eve, "POST", "/api/known-keys", known)).status).toBe(201);
    expect([await levelFor(ada), await levelFor(eve), await levelFor(bob)]).toEqual([0, 1, 4]);
    expect(await levelFor(ada, v1)).toBe(0);

    expect((await call(bob, "POST", "/api/admin/known-keys", known)).status).toBe(403);
    expect((await call(ada, "POST", "/api/admin/known-keys", known)).status).toBe(201);
    expect([await levelFor(ada), await levelFor(eve), await levelFor(bob)]).toEqual([1, 1, 1]);
    for (const user of [eve, bob]) {
      const list = await call(user, "GET", "/api/datasets?max_trust_level=1");
      expect(list.body.datasets).toMatchObject([{ id: v2, trust_level: 1, trust: "signed" }]);
    }
    expect(await publicLevel()).toBe(1);

    const path = `/known-keys/${known.public_key}`;
    expect((await call(bob, "DELETE", `/api/admin${path}`)).status).toBe(403);
    expect((await call(ada, "DELETE", `/api/admin${path}`)).status).toBe(204);
    expect((await call(ada, "DELETE", `/api/admin${path}`)).status).toBe(404);
    expect([await levelFor(eve), await levelFor(bob), await publicLevel()]).toEqual([1, 4, 4]);
    expect((await call(bob, "GET", "/api/datasets?max_trust_level=3")).body.datasets).toEqual([]);

    expect((await call(ada, "DELETE", `/api/keys/${registered.id}`)).status).toBe(204);
    expect([await levelFor(ada), await levelFor(eve), await levelFor(bob)]).toEqual([0, 4, 4]);
    const again = await signed(ada, v2, key);
    const refused = await call(ada, "POST", `/api/datasets/${v2}/signatures`, { envelope: again });
    expect(refused.body).toMatchObject({ status: 403, code: "permission_denied", field: "keyid" });
  });

  test("for anything but this very version is refused by field", async () => {
    const { key } = await newKey(ada, "exact");
    const add = async (envelope: Envelope, id = v2, user = ada): Promise<JsonAnswer> =>
      call(user, "POST", `/api/datasets/${id}/signatures`, { envelope });
    const changes = {
      owner: "eve",
      name: "letters",
      version: 1,
      parent: null,
      content_hash: "0".repeat(64),
      schema_hash: "0".repeat(64),
    };
    for (const [field, value] of Object.entries(changes)) {
      const { status, body } = await add(await signed(ada, v2, key, { [field]: value }));
      expect([field, status, body.field, body.statement_field]).toEqual([field, 400, "envelope", field]);
    }
    const old = await add(await signed(ada, v1, key));
    expect(old.body).toMatchObject({ status: 400, field: "envelope" });
    expect((await add(await signed(ada, v2, key), v1)).body).toMatchObject({ status: 400 });

    const good = await signed(ada, v2, key);
    const stranger = keyPairOf(new Uint8Array(32).fill(31));
    const [{ sig }] = good.signatures;
    const forged: [string, Envelope][] = [
      ["another key named", { ...good, signatures: [{ keyid: toHex(stranger.publicKey), sig }] }],
      ["no key named", { ...good, signatures: [{ keyid: "", sig }] }],
      ["another type", { ...good, payloadType: KEY_PROOF_TYPE }],
      ["a signature of something else", { ...good, payload: (await signed(ada, v1, key)).payload }],
      ["no statement", signEnvelope(DATASET_STATEMENT_TYPE, utf8("{}"), key)],
    ];
    for (const [what, envelope] of forged) {
      const { status, body } = await add(envelope);
      expect([what, status, body.field]).toEqual([what, 400, "envelope"]);
    }
    // Sound, but by a key that is not registered, or not by this user.
    expect((await add(await signed(ada, v2, stranger))).body).toMatchObject({
      status: 403,
      field: "keyid",
    });
    expect((await add(good, v2, eve)).body).toMatchObject({ status: 403, field: "keyid" });
    expect((await add(good)).status).toBe(201);
    expect((await add(good)).status).toBe(201);
    expect((await evidence()).filter((each) => each.public_key === toHex(key.publicKey))).toHaveLength(1);
  });

  test("of a revoked key makes room for the next", async () => {
    const signer = await person(gateway, "signer");
    await share(gateway, v2, signer.userId);
    const brought = async (): Promise<unknown[]> => {
      const list = (await call(ada, "GET", `/api/datasets/${v2}/evidence`)).body.evidence;
      return (list as { created_by: string; public_key: string }[])
        .filter((each) => each.created_by === "signer")
        .map((each) => each.public_key);
    };
    const [first, second, third] = [
      await newKey(signer, "first"),
      await newKey(signer, "second"),
      await newKey(signer, "third"),
    ];
    const sign = async ({ key }: RegisteredKey): Promise<unknown> =>
      signer.client.keys.sign(v2, await signed(ada, v2, key));
    await sign(first);
    await sign(second);
    expect(await brought()).toEqual([first, second].map(({ key }) => toHex(key.publicKey)));
    await signer.client.keys.revoke(first.registered.id);
    await sign(third);
    expect(await brought()).toEqual([second, third].map(({ key }) => toHex(key.publicKey)));
  });

  test("by a reader counts for those who know the reader's key", async () => {
    const { key } = await newKey(eve, "reviewer");
    const envelope = await signed(ada, v2, key);
    expect((await call(eve, "POST", `/api/datasets/${v2}/signatures`, { envelope })).status).toBe(201);
    expect(await levelFor(bob)).toBe(4);
    await call(bob, "POST", "/api/known-keys", { name: "eve", public_key: toHex(key.publicKey) });
    expect(await levelFor(bob)).toBe(1);
  });

  test("of a version out of reach is answered as if there were none", async () => {
    const { key } = await newKey(bob, "outsider");
    const envelope = await signed(ada, v1, key);
    const hidden = await call(bob, "POST", `/api/datasets/${v1}/signatures`, { envelope });
    const missing = await call(bob, "POST", `/api/datasets/${crypto.randomUUID()}/signatures`, { envelope });
    expect(hidden.status).toBe(404);
    expect({ ...hidden.body, request_id: "" }).toEqual({ ...missing.body, request_id: "" });
    expect((await call(bob, "GET", `/api/datasets/${v1}/evidence`)).status).toBe(404);
  });

  async function evidence(): Promise<{ public_key: string }[]> {
    return (await call(ada, "GET", `/api/datasets/${v2}/evidence`)).body.evidence;
  }

  async function publicLevel(): Promise<unknown> {
    const text = "SELECT public_trust_level FROM dataset_summary WHERE id = $1";
    return (await gateway.database.sql.query({ text, values: [v2] }))[0]?.["public_trust_level"];
  }
});

test("evidence is listed page by page, and to holders of a token", async () => {
  const whole = (await call(ada, "GET", `/api/datasets/${v2}/evidence`)).body.evidence as { id: string }[];
  expect(whole.length).toBeGreaterThan(1);
  const { token } = await ada.client.datasets.createToken(v2);
  const ids: string[] = [];
  for (let cursor: string | undefined; ids.length < whole.length;) {
    const query = `limit=1${cursor === undefined ? "" : `&cursor=${cursor}`}`;
    const { status, body } = await api.json("GET", `/api/datasets/${v2}/evidence?${query}`, undefined, {
      authorization: `Bearer ${token}`,
    });
    expect(status).toBe(200);
    ids.push(...(body.evidence as { id: string }[]).map(({ id }) => id));
    cursor = body.next_cursor ?? undefined;
    if (cursor === undefined) break;
  }
  expect(ids).toEqual(whole.map(({ id }) => id));
});

test("known keys are listed by key, each list for itself", async () => {
  const carl = await person(gateway, "carl");
  const keys = [41, 42, 43].map((seed) => toHex(keyPairOf(new Uint8Array(32).fill(seed)).publicKey));
  for (const [i, public_key] of keys.entries())
    expect((await call(carl, "POST", "/api/known-keys", { name: `key ${i}`, public_key })).status).toBe(201);
  expect((await call(carl, "POST", "/api/known-keys", { name: "x", public_key: keys[0] })).status).toBe(409);
  expect(
    (await call(carl, "POST", "/api/known-keys", { name: "x", public_key: "00".repeat(32) })).status,
  ).toBe(400);
  const found: string[] = [];
  for await (const each of carl.client.keys.known()) found.push(each.public_key);
  expect(found).toEqual(keys.toSorted());
  const first = await call(carl, "GET", "/api/known-keys?limit=2");
  expect(first.body.known_keys).toHaveLength(2);
  const rest = await call(carl, "GET", `/api/known-keys?cursor=${first.body.next_cursor}`);
  expect(rest.body.known_keys.map((each: { public_key: string }) => each.public_key)).toEqual(found.slice(2));
  expect((await call(carl, "GET", "/api/admin/known-keys")).body.known_keys).toEqual([]);
  expect((await call(carl, "GET", "/api/known-keys?cursor=eA")).status).toBe(400);
});

test("a client with known keys verifies signatures by itself", async () => {
  const dora = await person(gateway, "dora");
  const { key, registered } = await newKey(ada, "pinning");
  await share(gateway, v2, dora.userId);
  const stranger = keyPairOf(new Uint8Array(32).fill(51));
  const knowing = (...publicKeys: Uint8Array[]): ReturnType<typeof clientOf> =>
    clientOf(gateway, {
      apiKey: dora.apiKey,
      knownKeys: publicKeys.map((publicKey) => ({ publicKey, name: "ada's" })),
    });
  const before = await knowing(key.publicKey).openDataset(v2);
  expect(before).toMatchObject({ pinned: false, signedBy: undefined });

  await ada.client.keys.sign(v2, await signed(ada, v2, key));
  expect(await knowing(key.publicKey).openDataset(v2)).toMatchObject({ pinned: true, signedBy: "ada's" });
  expect(await knowing(key.publicKey).openDataset("owner/words@2")).toMatchObject({ pinned: true });
  expect(await knowing(stranger.publicKey).openDataset(v2)).toMatchObject({ pinned: false });
  expect(await knowing().openDataset(v2)).toMatchObject({ pinned: false });
  // It trusts its own list: the gateway's levels, and what it says of the key, do not matter.
  expect(await levelFor(dora)).toBe(4);
  await ada.client.keys.revoke(registered.id);
  expect(await knowing(key.publicKey).openDataset(v2)).toMatchObject({ pinned: true });
});

test("a client does not believe evidence that a gateway bends", async () => {
  const { key } = await newKey(ada, "bent");
  await ada.client.keys.sign(v2, await signed(ada, v2, key));
  const old = await signed(ada, v1, key);
  const open = (
    bend: (evidence: { envelope: unknown; public_key: string }) => void,
  ): Promise<{ pinned: boolean }> =>
    clientOf(gateway, {
      apiKey: ada.apiKey,
      knownKeys: [{ publicKey: key.publicKey, name: "ada's" }],
      fetch: async (input, init) => {
        const response = await fetch(input, init);
        if (!response.url.includes("/evidence")) return response;
        const body = (await response.json()) as { evidence: { envelope: unknown; public_key: string }[] };
        for (const each of body.evidence) if (each.public_key === toHex(key.publicKey)) bend(each);
        return Response.json(body);
      },
    }).openDataset(v2);
  expect((await open(() => undefined)).pinned).toBe(true);
  const bent: ((evidence: { envelope: unknown; public_key: string }) => void)[] = [
    (each) => (each.envelope = old),
    (each) => (each.envelope = null),
    (each) => (each.envelope = { ...(each.envelope as object), payloadType: "text/plain" }),
    (each) => (each.envelope = { ...(each.envelope as object), signatures: [] }),
    (each) => (each.public_key = "00".repeat(32)),
  ];
  for (const bend of bent) expect((await open(bend)).pinned).toBe(false);
});

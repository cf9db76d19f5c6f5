/** People where they have no business: ids of others, rights beyond one's own, what administrators do. */
import { randomBytes, randomUUID } from "node:crypto";
import { statementOf } from "../../client/keys.ts";
import { toHex } from "../../core/bytes.ts";
import { ATTESTATION_TYPE, encodeAttestation } from "../../core/trust/attestation-statement.ts";
import { type Envelope, signEnvelope } from "../../core/trust/dsse.ts";
import type { KeyPair } from "../../core/trust/ed25519.ts";
import { newKey, type Person, signed } from "../trust/fixture.ts";
import type { Attack, AttackClass } from "./classes.ts";
import type { Answer, GatewayRequest } from "./send.ts";
import { as, created, freshKey, idOf, issued, newNode, now, type World } from "./world.ts";

export async function reachClasses(world: World): Promise<AttackClass[]> {
  return [
    await othersDatasets(world),
    await othersThings(world),
    await beyondOnesRights(world),
    await administration(world),
  ];
}

export type Request = Omit<GatewayRequest, "headers">;
export const get = (path: string): Request => ({ method: "GET", path });
export const post = (path: string, body: unknown = {}): Request => ({ method: "POST", path, body });
export const put = (path: string, body: unknown = {}): Request => ({ method: "PUT", path, body });
export const remove = (path: string): Request => ({ method: "DELETE", path });
export const call = (method: string, body: object, streams = false): Request => ({
  method: "POST",
  path: `/cyxcloud.datastream.DataStreamService/${method}`,
  body,
  streams,
});

/** The same request by somebody else; made anew for each, since some can be granted once. */
function by(world: World, attacker: Person, honest: Person = world.ada) {
  return (what: string, request: () => Request | Promise<Request>, code?: string): Attack => {
    const send = async (who: Person): Promise<Answer> =>
      world.send({ ...(await request()), headers: as(who) });
    return { what, sound: () => send(honest), attempt: () => send(attacker), ...(code && { code }) };
  };
}

/** Routes of a dataset version that a user can ask for. */
function datasetRequests(world: World, id: string, envelopes: Envelopes): Readonly<Record<string, Request>> {
  const path = `/api/datasets/${id}`;
  return {
    description: get(path),
    files: get(`${path}/files`),
    versions: get(`${path}/versions`),
    manifest: get(`${path}/manifest`),
    "page of the manifest": get(`${path}/manifest/pages/0`),
    evidence: get(`${path}/evidence`),
    shares: get(`${path}/shares`),
    tokens: get(`/api/tokens?dataset=${id}`),
    "verify, what is stored": post(`${path}/verify`, { depth: "stored" }),
    "new token": post(`${path}/tokens`, { scopes: ["read"] }),
    "new share": post(`${path}/shares`, { user: "dora", permissions: ["read"] }),
    signature: post(`${path}/signatures`, { envelope: envelopes.signature }),
    attestation: post(`${path}/attestations`, { envelope: envelopes.attestation }),
    receipt: get(`/api/streams/${world.stream.id}/receipt?dataset=${id}`),
    GetDatasetInfo: call("GetDatasetInfo", { datasetId: id }),
    VerifyDataset: call("VerifyDataset", { datasetId: id }),
    CreateAccessToken: call("CreateAccessToken", { datasetId: id, scopes: ["read"] }),
    GetReceipt: call("GetReceipt", { datasetId: id, streamId: world.stream.id }),
  };
}

export interface Envelopes {
  readonly signature: unknown;
  readonly attestation: unknown;
}

/** A sound signature and attestation of version 2. */
export async function soundEnvelopes(world: World): Promise<Envelopes> {
  const { ada } = world;
  const { key } = await newKey(ada, `signer ${randomUUID()}`);
  const attestor = freshKey();
  await ada.client.attestors.add({ name: `attestor ${randomUUID()}`, publicKey: toHex(attestor.publicKey) });
  return {
    signature: await signed(ada, world.v2, key),
    attestation: await attestationOf(world, attestor),
  };
}

async function attestationOf({ ada, v2 }: World, attestor: KeyPair): Promise<Envelope> {
  const statement = statementOf(await ada.client.datasets.get(v2));
  const attestation = { ...statement, claim: "looked at", issued_at: now(), expires_at: now() + 3600 };
  return signEnvelope(ATTESTATION_TYPE, encodeAttestation(attestation), attestor);
}

async function othersDatasets(world: World): Promise<AttackClass> {
  const attack = by(world, world.bob);
  const requests = datasetRequests(world, world.v2, await soundEnvelopes(world));
  return {
    name: "dataset of somebody else",
    code: "not_found",
    attacks: Object.entries(requests).map(([what, request]) => attack(what, () => request)),
  };
}

/** Each made by ada for the occasion. */
async function othersThings(world: World): Promise<AttackClass> {
  const { ada, eve, bob } = world;
  const attack = by(world, bob);
  const upload = async (): Promise<string> => {
    const body = { bucket: "words", kind: "object", key: `x/${randomUUID()}` };
    return String((await created(world, "POST", "/api/uploads", body))["upload_id"]);
  };
  const part = async (): Promise<string> => {
    const id = await upload();
    await world.gateway.request(`/api/uploads/${id}/parts/1`, { method: "PUT", body: "abc" });
    return id;
  };
  const job = async (): Promise<string> =>
    String((await created(world, "POST", `/api/datasets/${world.v2}/verify`, { depth: "full" }))["job_id"]);
  const share = (): Promise<string> =>
    idOf(world, "POST", `/api/datasets/${world.v2}/shares`, {
      user: "dora",
      permissions: ["read", "stream"],
    });
  const object = async (): Promise<string> => {
    const key = `y/${randomUUID()}`;
    await ada.client.uploadFolder({ bucket: "words", prefix: "" }, one(key));
    return key;
  };
  const knownKey = async (): Promise<string> => {
    const public_key = toHex(freshKey().publicKey);
    await created(world, "POST", "/api/known-keys", { name: public_key, public_key });
    return public_key;
  };
  const attested = async (): Promise<string> =>
    idOf(world, "POST", `/api/datasets/${world.v2}/attestations`, {
      envelope: (await soundEnvelopes(world)).attestation,
    });
  const signingKey = async (): Promise<string> => (await newKey(ada, randomUUID())).registered.id;
  const apiKey = (): Promise<string> =>
    idOf(world, "POST", `/api/users/owner/api-keys`, { name: randomUUID() });
  return {
    name: "things of somebody else",
    code: "not_found",
    attacks: [
      attack("watch an upload", async () => get(`/api/uploads/${await upload()}`)),
      attack("complete an upload", async () => post(`/api/uploads/${await part()}/complete`, { parts: 1 })),
      attack("abort an upload", async () => remove(`/api/uploads/${await upload()}`)),
      attack("watch a job", async () => get(`/api/jobs/${await job()}`)),
      attack("upload into a bucket", () =>
        post("/api/uploads", { bucket: "words", kind: "object", key: randomUUID() }),
      ),
      attack("list a bucket", () => get("/api/objects?bucket=words")),
      attack("read an object", async () => get(`/api/objects/words/${encodeURIComponent(await object())}`)),
      attack("delete an object", async () =>
        remove(`/api/objects/words/${encodeURIComponent(await object())}`),
      ),
      attack("delete objects", async () =>
        post("/api/objects/delete", { bucket: "words", keys: [await object()] }),
      ),
      attack("revoke a token", async () => remove(`/api/tokens/${(await issued(world)).id}`)),
      attack("revoke a token by call", async () =>
        call("RevokeAccessToken", { tokenId: (await issued(world)).id }),
      ),
      attack("take a share back", async () => remove(`/api/shares/${await share()}`)),
      attack("revoke a training node", async () =>
        remove(`/api/training-nodes/${(await newNode(world)).id}`),
      ),
      attack("bind a token to a training node", async () =>
        post(`/api/datasets/${world.v2}/tokens`, { scopes: ["read"], node: (await newNode(world)).id }),
      ),
      attack("withdraw an attestation", async () => remove(`/api/attestations/${await attested()}`)),
      attack("revoke a signing key", async () => remove(`/api/keys/${await signingKey()}`)),
      attack("remove a known key", async () => remove(`/api/known-keys/${await knownKey()}`)),
      by(world, eve)("read the receipt of a stream", () =>
        get(`/api/streams/${world.stream.id}/receipt?dataset=${world.v2}`),
      ),
      by(world, eve)("get the receipt of a stream", () =>
        call("GetReceipt", { datasetId: world.v2, streamId: world.stream.id }),
      ),
      attack("list the API keys of a user", () => get(`/api/users/owner/api-keys`), "permission_denied"),
      attack(
        "make an API key for a user",
        () => post(`/api/users/owner/api-keys`, { name: randomUUID() }),
        "permission_denied",
      ),
      attack(
        "revoke an API key",
        async () => remove(`/api/users/owner/api-keys/${await apiKey()}`),
        "permission_denied",
      ),
      attack(
        "make a dataset of a bucket",
        () =>
          post("/api/datasets", {
            name: `d-${randomUUID().slice(0, 8)}`,
            files: ["words/even/*.txt"],
            schema: { type: "text", format: "txt" },
          }),
        "invalid_argument",
      ),
    ],
  };
}

export async function* one(path: string): AsyncGenerator<{ path: string; blob: Blob }> {
  yield { path, blob: new Blob(["x"]) };
}

async function beyondOnesRights(world: World): Promise<AttackClass> {
  const { eve, carol, send } = world;
  const path = `/api/datasets/${world.v2}`;
  const day = (days: number): string => new Date((now() + days * 86_400) * 1000).toISOString();
  const give = (who: Person, permissions: string[], user = "bob", expires_at?: string): Promise<Answer> =>
    send({
      ...post(`${path}/shares`, { user, permissions, ...(expires_at && { expires_at }) }),
      headers: as(who),
    });
  const token = (who: Person, scopes: string[]): Promise<Answer> =>
    send({ ...post(`${path}/tokens`, { scopes }), headers: as(who) });
  const called = (who: Person, scopes: string[]): Promise<Answer> =>
    send({ ...call("CreateAccessToken", { datasetId: world.v2, scopes }), headers: as(who) });
  const { token: held } = await issued(world);
  const asToken = (request: Request): Promise<Answer> =>
    send({ ...request, headers: { authorization: `Bearer ${held}` } });
  const passedOn = (): Promise<Answer> => give(carol, ["read"], "dora");
  const each = (attempts: Readonly<Record<string, () => Promise<Answer>>>, code?: string): Attack[] =>
    Object.entries(attempts).map(([what, attempt]) => ({ what, attempt, ...(code && { code }) }));
  return {
    name: "grant beyond one's rights",
    code: "permission_denied",
    sound: passedOn,
    attacks: [
      ...each({
        "share without the right to": () => give(eve, ["read"]),
        "share all without the right to": () => give(eve, ["read", "stream", "reshare"]),
        "share without the right to, for an hour": () => give(eve, ["stream"], "bob", day(0.04)),
        "share what one does not hold": () => give(carol, ["stream"]),
        "share more than one holds": () => give(carol, ["read", "stream"]),
        "share more than one holds, with reshare": () => give(carol, ["read", "stream", "reshare"]),
        "share for longer": () => give(carol, ["read"], "bob", day(2)),
        "share for much longer": () => give(carol, ["read"], "bob", day(4_000)),
        "token for what one does not hold": () => token(carol, ["stream"]),
        "token for more than one holds": () => token(carol, ["read", "stream"]),
        "token by call, for what one does not hold": () => called(carol, ["stream"]),
        "token by call, for more than one holds": () => called(carol, ["read", "stream"]),
        "delete what is shared": () => send({ ...remove(path), headers: as(eve) }),
        "delete what is shared to pass on": () => send({ ...remove(path), headers: as(carol) }),
      }),
      ...each(
        {
          "share with oneself": () => give(carol, ["read"], "carol"),
          "share with the owner": () => give(carol, ["read"], "owner"),
          "share a right that is none": () => give(carol, ["read", "manage"]),
          "share until yesterday": () => give(carol, ["read"], "bob", day(-1)),
          "token to pass on": () => token(carol, ["reshare"]),
          "token to manage": () => token(carol, ["manage"]),
          "token for nothing": () => token(carol, []),
        },
        "invalid_argument",
      ),
      ...each(
        {
          "share with a token": () => asToken(post(`${path}/shares`, { user: "bob", permissions: ["read"] })),
          "token with a token": () => asToken(post(`${path}/tokens`, { scopes: ["read"] })),
          "token with a token, by call": () =>
            asToken(call("CreateAccessToken", { datasetId: world.v2, scopes: ["read"] })),
          "delete with a token": () => asToken(remove(path)),
          "list with a token": () => asToken(get("/api/datasets")),
          "act as a user with a token": () => asToken(get("/api/users/me")),
        },
        "unauthenticated",
      ),
    ],
  };
}

async function administration(world: World): Promise<AttackClass> {
  const attack = by(world, world.eve);
  const public_key = (): string => toHex(freshKey().publicKey);
  const listedAttestor = async (): Promise<string> => {
    const key = public_key();
    await created(world, "POST", "/api/admin/attestors", { name: key, public_key: key });
    return key;
  };
  const listedKey = async (): Promise<string> => {
    const key = public_key();
    await created(world, "POST", "/api/admin/known-keys", { name: key, public_key: key });
    return key;
  };
  const entry = (): object => ({
    name: `Set ${randomBytes(4).toString("hex")}`,
    version: "1",
    official_url: "https://example.org/set",
    verified_by: ["somebody"],
    official_hash: randomBytes(32).toString("hex"),
  });
  return {
    name: "administration by others",
    code: "permission_denied",
    attacks: [
      attack("list users", () => get("/api/users")),
      attack("create a user", () => post("/api/users", { name: `u-${randomUUID().slice(0, 8)}` })),
      attack("create an administrator", () =>
        post("/api/users", { name: `u-${randomUUID().slice(0, 8)}`, role: "admin" }),
      ),
      attack("vouch for an e-mail address", async () => {
        const name = `u-${randomUUID().slice(0, 8)}`;
        await created(world, "POST", "/api/users", { name });
        return put(`/api/users/${name}/verified-email`, { email: `${name}@example.com` });
      }),
      attack("list another's API keys", () => get(`/api/users/bob/api-keys`)),
      attack("make another's API key", () => post(`/api/users/bob/api-keys`, { name: randomUUID() })),
      attack("list a known key for everybody", () =>
        post("/api/admin/known-keys", { name: randomUUID(), public_key: public_key() }),
      ),
      attack("remove a known key of everybody", async () =>
        remove(`/api/admin/known-keys/${await listedKey()}`),
      ),
      attack("list an attestor", () =>
        post("/api/admin/attestors", { name: randomUUID(), public_key: public_key() }),
      ),
      attack("remove an attestor", async () => remove(`/api/admin/attestors/${await listedAttestor()}`)),
      attack("renew the attestors", () => post("/api/admin/attestors/renew", {})),
      attack("add to the registry", () => post("/api/public-datasets", entry())),
      attack("remove from the registry", async () =>
        remove(`/api/public-datasets/${await idOf(world, "POST", "/api/public-datasets", entry())}`),
      ),
      attack("repair", () => post("/api/admin/repair")),
      attack("scrub", () => post("/api/admin/scrub")),
      attack("collect garbage", () => post("/api/admin/gc")),
    ],
  };
}

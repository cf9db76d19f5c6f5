/** Training nodes, and tokens that work with a node's proof alone. */
import { createHash, randomBytes } from "node:crypto";
import { exportJWK, generateKeyPair, type JWK, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { createProof } from "../../client/proof.ts";
import { type KeyPair, keyPairOf } from "../../core/trust/ed25519.ts";
import { documentedClient, type DocumentedClient, type JsonAnswer } from "../api/documented.ts";
import { addUser } from "../api/users.ts";
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
    noiseFiles(6, () => 100),
  );
});
afterAll(() => gateway.stop());

const newKey = (): KeyPair => keyPairOf(new Uint8Array(randomBytes(32)));
const proofFor = (key: KeyPair, method: string, path: string, credential: string): Promise<string> =>
  createProof(key, { method, url: new URL(path, gateway.url).href, credential });

async function register(name: string, key: KeyPair): Promise<JsonAnswer> {
  const dpop = await proofFor(key, "POST", "/api/training-nodes", gateway.owner.apiKey);
  return api.json("POST", "/api/training-nodes", { name }, { dpop });
}

async function node(name: string): Promise<{ key: KeyPair; id: string }> {
  const key = newKey();
  const { status, body } = await register(name, key);
  expect(status).toBe(201);
  return { key, id: body.id as string };
}

async function boundToken(name: string): Promise<string> {
  const { status, body } = await api.json("POST", `/api/datasets/${dataset.id}/tokens`, {
    scopes: ["read", "stream"],
    node: name,
  });
  expect([status, body.node]).toEqual([201, name]);
  return body.token as string;
}

const INFO = (): string => `/api/datasets/${dataset.id}`;
const get = async (token: string, dpop?: string, scheme = "DPoP"): Promise<number> => {
  const headers = { authorization: `${scheme} ${token}`, ...(dpop !== undefined && { dpop }) };
  const { status, body } = await api.json("GET", INFO(), undefined, headers);
  if (status !== 200) expect(body.code).toBe("unauthenticated");
  return status;
};

test("a node is registered, listed and revoked, and its name is free again", async () => {
  const { id, key } = await node("first");
  const { body } = await api.json("GET", "/api/training-nodes?limit=1");
  expect(body.nodes[0]).toMatchObject({
    id,
    name: "first",
    public_key: Buffer.from(key.publicKey).toString("base64url"),
    certificate_sha256: null,
    revoked_at: null,
  });
  expect((await register("first", newKey())).status).toBe(409);
  expect((await api.json("DELETE", `/api/training-nodes/${id}`)).status).toBe(204);
  expect((await api.json("DELETE", `/api/training-nodes/${id}`)).status).toBe(204);
  await node("first");
});

describe("what an answer of 401 asks for", () => {
  const asked = async (headers: Record<string, string>): Promise<unknown> => {
    const { status, headers: answered } = await api.json("GET", INFO(), undefined, headers);
    return [status, answered.get("www-authenticate")];
  };
  const INVALID_PROOF = 'DPoP realm="cyxcloud", error="invalid_dpop_proof", algs="Ed25519"';

  test("is a proof, where the token is bound to a key", async () => {
    const { key, id } = await node("challenged");
    const token = await boundToken("challenged");
    expect(await asked({ authorization: `Bearer ${token}` })).toEqual([401, INVALID_PROOF]);
    expect(await asked({ authorization: `DPoP ${token}`, dpop: "none" })).toEqual([401, INVALID_PROOF]);
    expect((await api.json("DELETE", `/api/training-nodes/${id}`)).status).toBe(204);
    const dpop = await proofFor(key, "GET", INFO(), token);
    expect(await asked({ authorization: `DPoP ${token}`, dpop })).toEqual([
      401,
      'DPoP realm="cyxcloud", error="invalid_token", algs="Ed25519"',
    ]);
  });

  test("is another token, where it is bound to nothing", async () => {
    const { token } = await dataset.token();
    const invalid = [401, 'Bearer realm="cyxcloud", error="invalid_token"'];
    expect(await asked({ authorization: `DPoP ${token}` })).toEqual(invalid);
    expect(await asked({ authorization: `Bearer ${token}x` })).toEqual(invalid);
    expect(await asked({ authorization: "none" })).toEqual([401, 'Bearer realm="cyxcloud"']);
  });

  test("is said by the service as well, and to pages of any origin", async () => {
    await node("page");
    const token = await boundToken("page");
    const call = (url: string, init: RequestInit): Promise<Response> =>
      fetch(new URL(url, gateway.url), {
        ...init,
        headers: {
          "content-type": "application/json",
          authorization: `Bearer ${token}`,
          origin: "https://page.example",
        },
      });
    const answers = [
      await call(INFO(), {}),
      await call("/cyxcloud.datastream.DataStreamService/GetDatasetInfo", {
        method: "POST",
        body: JSON.stringify({ datasetId: dataset.id }),
      }),
    ];
    for (const { status, headers } of answers) {
      expect([status, headers.get("www-authenticate")]).toEqual([401, INVALID_PROOF]);
      expect(headers.get("access-control-expose-headers")).toContain("WWW-Authenticate");
    }
  });
});

test("nobody has a say in another user's nodes", async () => {
  const { id } = await node("mine");
  const { apiKey } = await addUser(gateway, "mallory");
  const authorization = `Bearer ${apiKey}`;
  expect((await api.json("DELETE", `/api/training-nodes/${id}`, undefined, { authorization })).status).toBe(
    404,
  );
  expect((await api.json("GET", "/api/training-nodes", undefined, { authorization })).body.nodes).toEqual([]);
  const token = { scopes: ["read"], node: "mine" };
  const answer = await api.json("POST", `/api/datasets/${dataset.id}/tokens`, { ...token, node: "nothing" });
  expect([answer.status, answer.body.field]).toEqual([404, "node"]);
  // A proof that was made for one user's key registers nothing for another.
  const dpop = await proofFor(newKey(), "POST", "/api/training-nodes", gateway.owner.apiKey);
  expect((await api.json("POST", "/api/training-nodes", { name: "x" }, { authorization, dpop })).status).toBe(
    401,
  );
});

test("without a proof, or with an unsound key, nothing is registered", async () => {
  expect((await api.json("POST", "/api/training-nodes", { name: "x" })).body).toMatchObject({
    code: "invalid_argument",
    field: "DPoP",
  });
  // The identity is a key whose signatures anybody can make: R = identity, S = 0.
  const identity = new Uint8Array(32);
  identity[0] = 1;
  const unsound = (await proofFor(newKey(), "POST", "/api/training-nodes", gateway.owner.apiKey)).split(".");
  const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const jwk = { kty: "OKP", crv: "Ed25519", x: Buffer.from(identity).toString("base64url") };
  const forged = `${base64({ typ: "dpop+jwt", alg: "Ed25519", jwk })}.${unsound[1]}.${Buffer.concat([identity, new Uint8Array(32)]).toString("base64url")}`;
  const { status } = await api.json("POST", "/api/training-nodes", { name: "x" }, { dpop: forged });
  expect([400, 401]).toContain(status);
  const { body } = await api.json("GET", "/api/training-nodes");
  expect((body.nodes as { name: string }[]).map(({ name }) => name)).not.toContain("x");
});

describe("a token that is bound to a node", () => {
  let key: KeyPair;
  let id: string;
  let token: string;
  beforeAll(async () => {
    ({ key, id } = await node("node-1"));
    token = await boundToken("node-1");
  });
  const proof = (): Promise<string> => proofFor(key, "GET", INFO(), token);

  test("works with a fresh proof, each once, and not without", async () => {
    const once = await proof();
    expect(await get(token, once)).toBe(200);
    expect(await get(token, once)).toBe(401);
    expect(await get(token, await proof())).toBe(200);
    expect(await get(token)).toBe(401);
    expect(await get(token, undefined, "Bearer")).toBe(401);
    expect(await get(token, await proof(), "Bearer")).toBe(401);
  });

  test("does not take a used proof after the ledger was restarted", async () => {
    const once = await proof();
    expect(await get(token, once)).toBe(200);
    await gateway.restart();
    expect(await get(token, once)).toBe(401);
    expect(await get(token, await proof())).toBe(200);
  });

  test("does not take the proof of another key, request or token", async () => {
    const other = (await node("node-2")).key;
    expect(await get(token, await proofFor(other, "GET", INFO(), token))).toBe(401);
    expect(await get(token, await proofFor(key, "POST", INFO(), token))).toBe(401);
    expect(await get(token, await proofFor(key, "GET", `${INFO()}/files`, token))).toBe(401);
    expect(await get(token, await proofFor(key, "GET", INFO(), await boundToken("node-1")))).toBe(401);
    const elsewhere = { method: "GET", url: `https://elsewhere.example${INFO()}`, credential: token };
    expect(await get(token, await createProof(key, elsewhere))).toBe(401);
    expect(await get(token, await proof())).toBe(200);
  });

  test("takes no proof whose claims or header differ in anything", async () => {
    const { privateKey, jwk } = await jwkOf(key);
    const now = Math.floor(Date.now() / 1000);
    const claims = {
      htm: "GET",
      htu: new URL(INFO(), gateway.url).href,
      iat: now,
      ath: createHash("sha256").update(token).digest("base64url"),
    };
    const header = { typ: "dpop+jwt", alg: "Ed25519", jwk };
    const sign = (changes: object, headerChanges: object = {}): Promise<string> =>
      new SignJWT({ ...claims, jti: randomBytes(8).toString("hex"), ...changes })
        .setProtectedHeader({ ...header, ...headerChanges })
        .sign(privateKey);
    expect(await get(token, await sign({}))).toBe(200);
    expect(await get(token, await sign({ htu: `${claims.htu}?a=1#b` }))).toBe(200);
    for (const changes of [
      { iat: now - 61 },
      { iat: now + 120 },
      { iat: undefined },
      { jti: undefined },
      { jti: "" },
      { jti: "x".repeat(257) },
      { jti: 7 },
      { ath: undefined },
      { htm: "get" },
      { htu: "nonsense" },
      { exp: now - 1 },
    ])
      expect([changes, await get(token, await sign(changes))]).toEqual([changes, 401]);
    const { d } = (await exportJWK(privateKey)) as { d: string };
    for (const changes of [{ typ: "JWT" }, { typ: undefined }, { jwk: { ...jwk, d } }, { jwk: undefined }])
      expect(await get(token, await sign({}, changes))).toBe(401);
    expect(await get(token, "nonsense")).toBe(401);
    expect(await get(token, `${await sign({})}x`)).toBe(401);
  });

  test("is no proof of anything for an unbound token", async () => {
    const { token: unbound } = await dataset.token();
    expect(await get(unbound, undefined, "Bearer")).toBe(200);
    expect(await get(unbound, await proofFor(key, "GET", INFO(), unbound), "DPoP")).toBe(401);
  });

  test("streams and acknowledges through the client that has the key, and through no other", async () => {
    const stream = async (nodeKey?: KeyPair): Promise<number> => {
      const client = new DataStreamClient({
        gateway: gateway.url,
        accessToken: token,
        ...(nodeKey && { nodeKey }),
      });
      let items = 0;
      for await (const batch of client.streamBatches({ dataset: dataset.id, batchSize: 2 })) {
        items += batch.items.length;
        await batch.acknowledge();
      }
      return items;
    };
    expect(await stream(key)).toBe(6);
    await expect(stream()).rejects.toMatchObject({ code: "unauthenticated" });
    await expect(stream(newKey())).rejects.toMatchObject({ code: "unauthenticated" });
  });

  test("ends with its node", async () => {
    expect(await get(token, await proof())).toBe(200);
    expect((await api.json("DELETE", `/api/training-nodes/${id}`)).status).toBe(204);
    expect(await get(token, await proof())).toBe(401);
    // Whoever has the key now has another node.
    expect((await register("node-1", key)).status).toBe(201);
    expect(await get(token, await proof())).toBe(401);
  });
});

test("tokens are listed to those who may revoke them", async () => {
  await node("lister");
  await boundToken("lister");
  // Those of one second come in no order of their own.
  const listed = await api.json("GET", `/api/tokens?dataset=${dataset.id}`);
  const ofNode = (listed.body.tokens as { node: string | null }[]).find(
    ({ node: name }) => name === "lister",
  );
  const { body } = await api.json("GET", `/api/tokens?dataset=${dataset.id}&limit=1`);
  expect(ofNode).toMatchObject({
    dataset: `owner/${dataset.name}@1`,
    issued_by: "owner",
    node: "lister",
    scopes: ["read", "stream"],
    revoked_at: null,
  });
  expect(JSON.stringify(body)).not.toContain("eyJ");
  const next = await api.json("GET", `/api/tokens?limit=1&cursor=${body.next_cursor as string}`);
  expect(next.body.tokens[0].id).not.toBe(body.tokens[0].id);
  const { apiKey } = await addUser(gateway, "outsider");
  const outsider = { authorization: `Bearer ${apiKey}` };
  expect((await api.json("GET", "/api/tokens", undefined, outsider)).body.tokens).toEqual([]);
  expect((await api.json("GET", `/api/tokens?dataset=${dataset.id}`, undefined, outsider)).status).toBe(404);
});

/** The same key as the library has it. */
async function jwkOf({ seed, publicKey }: KeyPair): Promise<{ privateKey: CryptoKey; jwk: JWK }> {
  const { privateKey: pattern } = await generateKeyPair("Ed25519", { extractable: true });
  const [d, x] = [seed, publicKey].map((bytes) => Buffer.from(bytes).toString("base64url"));
  const jwk = { kty: "OKP", crv: "Ed25519", x };
  const full = { ...(await exportJWK(pattern)), d, x };
  return {
    privateKey: await crypto.subtle.importKey("jwk", full as JsonWebKey, "Ed25519", true, ["sign"]),
    jwk: jwk as JWK,
  };
}

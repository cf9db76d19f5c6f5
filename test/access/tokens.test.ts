/** Forged tokens. Each comes with its unforged twin, which must be accepted: else a refusal proves nothing. */
import { generateKeyPairSync, randomUUID, sign as signBytes } from "node:crypto";
import fc from "fast-check";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { describe, expect, test } from "vitest";
import { type TokenClaims, toPayload } from "../../core/access/token-claims.ts";
import { DataStreamError } from "../../core/errors.ts";
import { TokenSigner } from "../../functions/tokens.ts";

const ISSUER = "https://gateway.example";
const NOW = Date.UTC(2026, 10, 22);
const NOW_SECONDS = NOW / 1000;

interface Pair {
  readonly privateKey: CryptoKey;
  readonly jwk: Record<string, unknown>;
}

async function pair(kid: string): Promise<Pair> {
  const { privateKey } = await generateKeyPair("Ed25519", { extractable: true });
  return { privateKey, jwk: { ...(await exportJWK(privateKey)), kid, alg: "Ed25519" } };
}

const [first, second, foreign] = await Promise.all([pair("first"), pair("second"), pair("first")]);
const secretOf = (...pairs: readonly Pair[]): string => JSON.stringify({ keys: pairs.map(({ jwk }) => jwk) });
const signer = await TokenSigner.load(secretOf(first, second), ISSUER);

const claims: TokenClaims = {
  id: randomUUID(),
  userId: randomUUID(),
  datasetId: randomUUID(),
  scopes: ["read", "stream"],
  issuedAt: NOW_SECONDS - 10,
  expiresAt: NOW_SECONDS + 60,
};
const PAYLOAD = toPayload(claims, ISSUER);
const HEADER = { alg: "Ed25519", typ: "JWT", kid: "first" };
const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Signs whatever header it is given, as an attacker with a key could. */
async function forge(
  header: Record<string, unknown>,
  payload: unknown,
  key: CryptoKey = first.privateKey,
): Promise<string> {
  const input = `${base64(header)}.${base64(payload)}`;
  const signature = await crypto.subtle.sign("Ed25519", key, Buffer.from(input));
  return `${input}.${Buffer.from(signature).toString("base64url")}`;
}

async function refused(token: string, now: number = NOW): Promise<void> {
  const error: unknown = await signer.verify(token, now).then(
    () => "accepted",
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DataStreamError);
  // One answer for every reason.
  expect(error).toMatchObject({
    code: "unauthenticated",
    message: "access_token: the access token is not valid, has expired or was revoked. Create a new one.",
  });
  expect((error as Error).cause).toBeUndefined();
}

const accepted = async (token: string): Promise<void> =>
  expect(await signer.verify(token, NOW)).toEqual(claims);

test("a token says what was signed, under the first key; every key verifies", async () => {
  const token = await signer.sign(claims);
  await accepted(token);
  expect(JSON.parse(Buffer.from(token.split(".")[0] as string, "base64url").toString())).toEqual(HEADER);
  await accepted(await forge({ ...HEADER, kid: "second" }, PAYLOAD, second.privateKey));
});

describe("a header", () => {
  test.each([
    ["names no algorithm", { ...HEADER, alg: "none" }],
    ["names the deprecated algorithm", { ...HEADER, alg: "EdDSA" }],
    ["names another algorithm", { ...HEADER, alg: "ES256" }],
    ["has no algorithm", { typ: "JWT", kid: "first" }],
    ["has no key id", { alg: "Ed25519", typ: "JWT" }],
    ["has another key's id", { ...HEADER, kid: "second" }],
    ["has an unknown key id", { ...HEADER, kid: "third" }],
    ["has a property's name as key id", { ...HEADER, kid: "__proto__" }],
    ["has no type", { alg: "Ed25519", kid: "first" }],
    ["has another type", { ...HEADER, typ: "at+jwt" }],
    ["has the type in other letters", { ...HEADER, typ: "jwt" }],
    ["has a critical extension", { ...HEADER, crit: ["exp"], exp: 1 }],
    ["has a critical extension that the library knows", { ...HEADER, crit: ["b64"], b64: true }],
    ["has an empty list of critical extensions", { ...HEADER, crit: [] }],
  ])("that %s is refused", async (_name, header) => {
    await accepted(await forge(HEADER, PAYLOAD));
    await refused(await forge(header, PAYLOAD));
  });

  test("that brings its own key is verified with ours", async () => {
    const { d: _secret, ...jwk } = foreign.jwk;
    const header = { ...HEADER, jwk, jku: "https://evil.example/jwks.json", x5u: "https://evil.example/x" };
    await accepted(await forge(header, PAYLOAD));
    await refused(await forge(header, PAYLOAD, foreign.privateKey));
  });
});

describe("claims", () => {
  test.each([
    ["another issuer", { iss: "https://other.example" }],
    ["another audience", { aud: "other" }],
    ["a list of audiences", { aud: ["cyxcloud-datastream", "other"] }],
    ["an expiry in the past", { exp: NOW_SECONDS - 1 }],
    ["the present as expiry", { exp: NOW_SECONDS }],
    ["no expiry", { exp: undefined }],
    ["no id", { jti: undefined }],
    ["no dataset", { dataset: undefined }],
    ["a dataset that is no id", { dataset: "my-dataset" }],
    ["an unknown scope", { scope: "read manage" }],
    ["a time before which it is void", { nbf: NOW_SECONDS + 30 }],
    ["a claim that nobody knows", { admin: true }],
  ])("with %s are refused", async (_name, change) => {
    await accepted(await forge(HEADER, PAYLOAD));
    await refused(await forge(HEADER, { ...PAYLOAD, ...change }));
  });

  test("end at the second of their expiry", async () => {
    const token = await signer.sign(claims);
    expect(await signer.verify(token, claims.expiresAt * 1000 - 1)).toEqual(claims);
    await refused(token, claims.expiresAt * 1000);
  });
});

describe("a signature", () => {
  test("by another key of the same id is refused", async () => {
    await refused(await forge(HEADER, PAYLOAD, foreign.privateKey));
  });

  test("with the public key as a shared secret is refused", async () => {
    const secret = Buffer.from(first.jwk.x as string, "base64url");
    const token = await new SignJWT(PAYLOAD).setProtectedHeader({ ...HEADER, alg: "HS256" }).sign(secret);
    await refused(token);
  });

  test("of another algorithm is refused", async () => {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const input = `${base64({ ...HEADER, alg: "ES256" })}.${base64(PAYLOAD)}`;
    const signature = signBytes("sha256", Buffer.from(input), { key: privateKey, dsaEncoding: "ieee-p1363" });
    await refused(`${input}.${signature.toString("base64url")}`);
  });

  test("that is missing is refused", async () => {
    const [header, payload] = (await signer.sign(claims)).split(".");
    await refused(`${header}.${payload}.`);
    await refused(`${base64({ ...HEADER, alg: "none" })}.${payload}.`);
  });
});

test("no change of any character is accepted", async () => {
  const token = await signer.sign(claims);
  await accepted(token);
  const characters = fc.constantFrom(...Array.from("ABCXYZabcxyz0189-_.=+/ "));
  await fc.assert(
    fc.asyncProperty(fc.nat(token.length - 1), characters, async (at, character) => {
      const changed = `${token.slice(0, at)}${character}${token.slice(at + 1)}`;
      // The last character carries bits that no byte of the signature uses: such a twin fails by its hash.
      fc.pre(changed !== token && at !== token.length - 1);
      await refused(changed);
    }),
    { numRuns: 400 },
  );
  for (const cut of [0, 1, token.indexOf("."), token.length - 1]) await refused(token.slice(0, cut));
  await refused(`${token}.${token}`);
  await refused("x".repeat(5000));
});

describe("signing keys", () => {
  test("show their public halves", () => {
    expect(signer.jwks.keys.map(({ kid }) => kid)).toEqual(["first", "second"]);
    for (const key of signer.jwks.keys)
      expect(Object.keys(key).toSorted()).toEqual(["alg", "crv", "kid", "kty", "use", "x"]);
  });

  const { d, ...publicOnly } = first.jwk;
  test.each([
    ["no JSON", `{"keys": [{"d": "${String(d)}"`],
    ["no list", JSON.stringify({ keys: first.jwk })],
    ["an empty list", secretOf()],
    ["a public key", JSON.stringify({ keys: [publicOnly] })],
    ["a key without id", JSON.stringify({ keys: [{ ...first.jwk, kid: undefined }] })],
    ["two keys of one id", secretOf(first, foreign)],
    ["a symmetric key", JSON.stringify({ keys: [{ kty: "oct", k: d, kid: "first" }] })],
    ["null", "null"],
  ])("that are %s do not start, and the error quotes no secret", async (_name, secret) => {
    const error: unknown = await TokenSigner.load(secret, ISSUER).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).not.toContain(String(d));
    expect((error as Error).cause).toBeUndefined();
  });
});

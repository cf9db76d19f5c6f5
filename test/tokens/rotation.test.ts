/** Signing keys take turns without a moment in which a valid token is refused. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { TokenClaims } from "../../core/access/token-claims.ts";
import { TOKEN_TTL_MAX_SECONDS } from "../../core/limits.ts";
import { TokenSigner } from "../../functions/tokens.ts";
import { createSigningKeys, rotateSigningKeys } from "../../scripts/stack/state.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";

const ISSUER = "urn:test";
const START = Date.UTC(2026, 10, 22);
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const kids = (secret: string): string[] =>
  (JSON.parse(secret) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
const kidOf = (token: string): string =>
  (JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()) as { kid: string }).kid;

function issue(signer: TokenSigner, nowMs: number): Promise<string> {
  const claims: TokenClaims = {
    id: randomUUID(),
    userId: randomUUID(),
    datasetId: randomUUID(),
    scopes: ["stream"],
    issuedAt: nowMs / 1000,
    expiresAt: nowMs / 1000 + TOKEN_TTL_MAX_SECONDS,
  };
  return signer.sign(claims);
}

describe("a rotation", () => {
  const first = createSigningKeys();
  const second = rotateSigningKeys(first, START);
  const [newKid = "", oldKid = ""] = kids(second);
  let now = START;
  const load = (secret: string): Promise<TokenSigner> => TokenSigner.load(secret, ISSUER, { now: () => now });
  const published = (signer: TokenSigner): unknown[] => signer.jwks.keys.map(({ kid }) => kid);

  test("publishes the new key an hour before it signs, and the old one as long as a token of it lives", async () => {
    const signer = await load(second);
    now = START;
    expect(kids(first)).toEqual([oldKid]);
    expect(kidOf(await issue(signer, now))).toBe(oldKid);
    expect(published(signer)).toEqual([newKid, oldKid]);

    now = START + HOUR - 1_000;
    const lastOfOld = await issue(signer, now);
    expect(kidOf(lastOfOld)).toBe(oldKid);
    now = START + HOUR;
    const firstOfNew = await issue(signer, now);
    expect(kidOf(firstOfNew)).toBe(newKid);
    for (const token of [lastOfOld, firstOfNew]) await signer.verify(token, now);

    now = START + HOUR + 30 * DAY - 2_000;
    for (const token of [lastOfOld, firstOfNew]) await signer.verify(token, now);
    now = START + HOUR + 31 * DAY;
    expect(published(signer)).toEqual([newKid]);
    await expect(signer.verify(lastOfOld, now)).rejects.toMatchObject({ code: "unauthenticated" });
    expect(kidOf(await issue(signer, now))).toBe(newKid);
  });

  test("refuses what a key signed that is over, or not in force yet, however long the token says it lives", async () => {
    const signer = await load(second);
    now = START + 2 * HOUR;
    const early = await issue(signer, now);
    await signer.verify(early, now);
    await expect(signer.verify(early, START)).rejects.toMatchObject({ code: "unauthenticated" });
    const [old] = (JSON.parse(first) as { keys: Record<string, unknown>[] }).keys;
    const over = await load(JSON.stringify({ keys: [{ ...old, exp: START / 1000 }] }));
    await expect(issue(over, now)).rejects.toMatchObject({ code: "internal" });
    expect(published(over)).toEqual([]);
  });

  test("may follow another before that is over; keys that are over leave the set", () => {
    const third = rotateSigningKeys(second, START + DAY);
    expect(kids(third).slice(1)).toEqual([newKid, oldKid]);
    const later = rotateSigningKeys(third, START + 100 * DAY);
    expect(kids(later)).toHaveLength(2);
    expect(kids(later)[1]).toBe(kids(third)[0]);
  });

  test.each(["", "{}", "[]", '{"keys": 7}'])("does not begin with %j, and quotes none of it", (secret) => {
    expect(() => rotateSigningKeys(secret, START)).toThrow(/^SIGNING_KEYS must be/);
  });

  test.each([{ nbf: "1" }, { exp: "1" }, { nbf: 5, exp: 5 }])("with %j is refused", async (times) => {
    const [key] = (JSON.parse(first) as { keys: object[] }).keys;
    await expect(load(JSON.stringify({ keys: [{ ...key, ...times }] }))).rejects.toThrow(/nbf and exp/);
  });
});

describe("the gateway", () => {
  let gateway: StreamGateway;
  let dataset: TestDataset;
  beforeAll(async () => {
    gateway = await startStreamGateway();
    dataset = await addDataset(
      gateway,
      noiseFiles(2, () => 10),
    );
  });
  afterAll(() => gateway.stop());

  const opens = async (token: string): Promise<boolean> =>
    (await gateway.request(`/api/datasets/${dataset.id}`, { headers: { authorization: `Bearer ${token}` } }))
      .ok;
  const issued = async (): Promise<string> => {
    const response = await gateway.request(`/api/datasets/${dataset.id}/tokens`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ scopes: ["read"] }),
    });
    return ((await response.json()) as { token: string }).token;
  };

  test("goes from key to key while its tokens work, and publishes those that count, for five minutes", async () => {
    const before = await issued();
    const rotated = rotateSigningKeys(gateway.signingKeys, Date.now() - 2 * HOUR);
    await gateway.restart({ SIGNING_KEYS: rotated });
    const after = await issued();
    expect([kidOf(after), kidOf(before)]).toEqual(kids(rotated));
    expect([await opens(before), await opens(after)]).toEqual([true, true]);
    const jwks = await fetch(new URL("/.well-known/jwks.json", gateway.url));
    expect(jwks.headers.get("cache-control")).toBe("public, max-age=300");
    const { keys } = (await jwks.json()) as { keys: Record<string, unknown>[] };
    expect(keys.map(({ kid }) => kid)).toEqual(kids(rotated));
    for (const key of keys)
      expect(Object.keys(key).toSorted()).toEqual(["alg", "crv", "kid", "kty", "use", "x"]);

    const retired = rotateSigningKeys(gateway.signingKeys, Date.now() - 40 * DAY);
    await gateway.restart({ SIGNING_KEYS: retired });
    expect(await opens(before)).toBe(false);
    expect(await opens(await issued())).toBe(true);
  });
});

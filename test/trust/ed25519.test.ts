import { readFileSync } from "node:fs";
import { createPrivateKey, sign as nodeSign, verify as nodeVerify, createPublicKey } from "node:crypto";
import { Point, verify as nobleVerify } from "@noble/ed25519";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../../core/bytes.ts";
import { checkPublicKey, keyPairOf, sign, verify } from "../../core/trust/ed25519.ts";

interface EdgeCase {
  readonly message: string;
  readonly public_key: string;
  readonly signature: string;
  /** Whether a verifier by ZIP 215 accepts it. */
  readonly cofactored: boolean;
}

const edgeCases = JSON.parse(
  readFileSync(new URL("../vectors/ed25519-edge-cases.json", import.meta.url), "utf8"),
) as { readonly cases: readonly EdgeCase[] };
const hex = (text: string): Uint8Array => fromHex(text) ?? new Uint8Array();
/** RFC 8032, 7.1: tests 1, 2 and 3. */
const RFC_8032: readonly (readonly [string, string, string, string])[] = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
  ],
];
/** Every point of order 1, 2, 4 and 8, and the second spellings of those that have one. */
const SMALL_ORDER = [
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0000000000000000000000000000000000000000000000000000000000000080",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  "0100000000000000000000000000000000000000000000000000000000000080",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
];
/** Order of the prime-order group. */
const L = 2n ** 252n + 27742317777372353535851937790883648493n;

const littleEndian = (value: bigint): Uint8Array =>
  Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
const fromLittleEndian = (bytes: Uint8Array): bigint =>
  bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
const seeds = fc.uint8Array({ minLength: 32, maxLength: 32 });
const messages = fc.uint8Array({ maxLength: 64 });

describe("keys and signatures", () => {
  test.each(RFC_8032)("of RFC 8032: %s", (seed, publicKey, message, signature) => {
    const key = keyPairOf(hex(seed));
    expect(toHex(key.publicKey)).toBe(publicKey);
    expect(toHex(sign(hex(message), key))).toBe(signature);
    expect(verify(hex(signature), hex(message), hex(publicKey))).toBe(true);
    checkPublicKey(hex(publicKey), "key");
  });

  test("are those of another implementation", () => {
    fc.assert(
      fc.property(seeds, messages, (seed, message) => {
        const key = keyPairOf(seed);
        const d = Buffer.from(seed).toString("base64url");
        const x = Buffer.from(key.publicKey).toString("base64url");
        const jwk = { kty: "OKP", crv: "Ed25519", x, d };
        const signature = nodeSign(null, message, createPrivateKey({ key: jwk, format: "jwk" }));
        expect(toHex(sign(message, key))).toBe(signature.toString("hex"));
        expect(verify(new Uint8Array(signature), message, key.publicKey)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  test("with any bit changed verify no more", () => {
    fc.assert(
      fc.property(seeds, messages, fc.nat(), fc.nat(2), (seed, message, place, what) => {
        const key = keyPairOf(seed);
        const parts = [sign(message, key), message.slice(), key.publicKey.slice()] as const;
        expect(verify(...parts)).toBe(true);
        const part = parts[what] as Uint8Array;
        if (part.length === 0) return;
        const bit = place % (8 * part.length);
        part[bit >> 3] = (part[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(verify(...parts)).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  test("of other lengths do not verify", () => {
    const key = keyPairOf(new Uint8Array(32).fill(1));
    const message = new Uint8Array(3);
    const signature = sign(message, key);
    expect(verify(signature, message, key.publicKey)).toBe(true);
    for (const length of [0, 32, 63, 65])
      expect(
        verify(
          Uint8Array.from({ length }, (_, i) => signature[i] ?? 0),
          message,
          key.publicKey,
        ),
      ).toBe(false);
    for (const length of [0, 31, 33])
      expect(
        verify(
          signature,
          message,
          Uint8Array.from({ length }, (_, i) => key.publicKey[i] ?? 0),
        ),
      ).toBe(false);
  });
});

describe("what lax verifiers accept is refused", () => {
  test.each(edgeCases.cases.map((each, index) => [index, each] as const))("edge case %i", (_index, each) => {
    const parts = [hex(each.signature), hex(each.message), hex(each.public_key)] as const;
    // The published outcome shows that the vector stands here as it was published.
    expect(nobleVerify(...parts, { zip215: true })).toBe(each.cofactored);
    expect(verify(...parts)).toBe(false);
  });

  test("the third edge case passes even a usual verifier", () => {
    const each = edgeCases.cases[3] as EdgeCase;
    const x = Buffer.from(each.public_key, "hex").toString("base64url");
    const publicKey = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
    expect(nodeVerify(null, hex(each.message), publicKey, hex(each.signature))).toBe(true);
  });

  test.each(SMALL_ORDER)("the small-order key %s", (text) => {
    expect(() => checkPublicKey(hex(text), "public_key")).toThrow("public_key");
    // S = 0 and R = −hA for small orders: at least one message of eight verifies with a lax equation.
    const signature = new Uint8Array(64);
    signature.set(hex(text));
    for (let i = 0; i < 8; i++) expect(verify(signature, Uint8Array.of(i), hex(text))).toBe(false);
  });

  test("keys of mixed order, though they are canonical and not small", () => {
    const torsion = Point.fromHex(SMALL_ORDER[4] as string, true);
    const mixed = Point.fromBytes(keyPairOf(new Uint8Array(32).fill(9)).publicKey).add(torsion);
    expect(mixed.isSmallOrder()).toBe(false);
    expect(() => checkPublicKey(mixed.toBytes(), "public_key")).toThrow("public_key");
  });

  test("keys that are no point, and spellings above the field", () => {
    // y = 2 is on no point of the curve.
    expect(() => checkPublicKey(Uint8Array.from([2, ...new Uint8Array(31)]), "public_key")).toThrow(
      "public_key",
    );
    expect(() => checkPublicKey(new Uint8Array(32).fill(0xff), "public_key")).toThrow("public_key");
  });

  test("S plus the group order, which means the same S", () => {
    fc.assert(
      fc.property(seeds, messages, (seed, message) => {
        const key = keyPairOf(seed);
        const signature = sign(message, key);
        expect(verify(signature, message, key.publicKey)).toBe(true);
        const s = fromLittleEndian(signature.subarray(32));
        expect(s).toBeLessThan(L);
        for (let added = s + L; added < 2n ** 256n; added += L * 4n) {
          const other = signature.slice();
          other.set(littleEndian(added), 32);
          expect(verify(other, message, key.publicKey)).toBe(false);
        }
      }),
      { numRuns: 10 },
    );
  });
});

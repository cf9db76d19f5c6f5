import { describe, expect, test } from "vitest";
import { toBase64 } from "../../core/base64.ts";
import { toHex } from "../../core/bytes.ts";
import { fromUtf8, utf8 } from "../../core/text.ts";
import {
  DATASET_STATEMENT_TYPE,
  type DatasetStatement,
  differingField,
  encodeDatasetStatement,
  parseDatasetStatement,
} from "../../core/trust/dataset-statement.ts";
import {
  keyOf,
  openEnvelope,
  parseEnvelope,
  preAuthentication,
  signEnvelope,
} from "../../core/trust/dsse.ts";
import { keyPairOf } from "../../core/trust/ed25519.ts";
import { checkKeyProof, KEY_PROOF_TYPE, signKeyProof } from "../../core/trust/key-proof.ts";
import { formatKnownKeys, parseKnownKeys } from "../../core/trust/known-keys.ts";

const key = keyPairOf(new Uint8Array(32).fill(3));
const other = keyPairOf(new Uint8Array(32).fill(4));
const statement: DatasetStatement = {
  owner: "ada",
  name: "digits",
  version: 2,
  parent: "9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90",
  content_hash: "0f".repeat(32),
  schema_hash: "1e".repeat(32),
};
const canonical =
  `{"content_hash":"${"0f".repeat(32)}","name":"digits","owner":"ada",` +
  `"parent":"9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90","schema_hash":"${"1e".repeat(32)}","version":2}`;
const envelope = signEnvelope(DATASET_STATEMENT_TYPE, encodeDatasetStatement(statement), key);

describe("the pre-authentication encoding", () => {
  // The first is the example of the DSSE specification.
  test.each([
    [
      "http://example.com/HelloWorld",
      "hello world",
      "DSSEv1 29 http://example.com/HelloWorld 11 hello world",
    ],
    ["", "", "DSSEv1 0  0 "],
    ["t", "ä", "DSSEv1 1 t 2 ä"],
    ["ü", "1 2", "DSSEv1 2 ü 3 1 2"],
  ])("of %j and %j", (type, body, encoded) => {
    expect(fromUtf8(preAuthentication(type, utf8(body)))).toBe(encoded);
  });

  test("of another split of the same text differs", () => {
    const one = preAuthentication("a", utf8("b 1 c"));
    expect(toHex(preAuthentication("a 5 b", utf8("c")))).not.toBe(toHex(one));
    expect(toHex(preAuthentication("a b", utf8("1 c")))).not.toBe(toHex(one));
  });
});

describe("a dataset statement", () => {
  test("is canonical JSON, and reads back", () => {
    expect(fromUtf8(encodeDatasetStatement(statement))).toBe(canonical);
    expect(parseDatasetStatement(utf8(canonical))).toEqual(statement);
    const first = { ...statement, version: 1, parent: null };
    expect(parseDatasetStatement(encodeDatasetStatement(first))).toEqual(first);
  });

  test.each<[string, string]>([
    ["white space", canonical.replace(",", ", ")],
    ["another order", canonical.replace(/^\{(.*),"version":2\}$/, '{"version":2,$1}')],
    ["a member twice", canonical.replace('"version":2', '"version":2,"version":2')],
    ["another spelling of a number", canonical.replace('"version":2', '"version":2.0')],
    ["an escape", canonical.replace("digits", "\\u0064igits")],
    ["a member too many", canonical.replace('"version"', '"trusted":true,"version"')],
    ["a member too few", canonical.replace('"owner":"ada",', "")],
    ["a version that is text", canonical.replace('"version":2', '"version":"2"')],
    ["version 0", canonical.replace('"version":2', '"version":0')],
    ["a hash in capitals", canonical.replaceAll("0f", "0F")],
    ["a short hash", canonical.replace("1e1e", "1e")],
    ["a parent that is no id", canonical.replace("9b2f3c1e-", "")],
    ["a byte order mark", `\ufeff${canonical}`],
    ["an array", `[${canonical}]`],
    ["null", "null"],
    ["nothing", ""],
  ])("with %s is none", (_what, text) => {
    expect(text).not.toBe(canonical);
    expect(parseDatasetStatement(utf8(text))).toBeUndefined();
  });

  test("that is no UTF-8 is none", () => {
    expect(parseDatasetStatement(Uint8Array.of(0x7b, 0xff, 0x7d))).toBeUndefined();
  });

  test("differs in each of its fields", () => {
    expect(differingField(statement, { ...statement })).toBeUndefined();
    const changes: Partial<Record<keyof DatasetStatement, DatasetStatement[keyof DatasetStatement]>> = {
      owner: "eve",
      name: "letters",
      version: 1,
      parent: null,
      content_hash: "00".repeat(32),
      schema_hash: "00".repeat(32),
    };
    expect(Object.keys(changes).toSorted()).toEqual(Object.keys(statement).toSorted());
    for (const [field, value] of Object.entries(changes))
      expect(differingField({ ...statement, [field]: value }, statement)).toBe(field);
  });
});

describe("an envelope", () => {
  const [signature] = envelope.signatures;

  test("opens for its key and its type alone", () => {
    expect(fromUtf8(openEnvelope(envelope, DATASET_STATEMENT_TYPE, key.publicKey) ?? new Uint8Array())).toBe(
      canonical,
    );
    expect(keyOf(envelope)).toEqual(key.publicKey);
    expect(openEnvelope(envelope, DATASET_STATEMENT_TYPE, other.publicKey)).toBeUndefined();
    expect(openEnvelope(envelope, KEY_PROOF_TYPE, key.publicKey)).toBeUndefined();
    expect(
      openEnvelope({ ...envelope, payloadType: KEY_PROOF_TYPE }, KEY_PROOF_TYPE, key.publicKey),
    ).toBeUndefined();
    const payload = toBase64(utf8(canonical.replace("digits", "dogits")));
    expect(openEnvelope({ ...envelope, payload }, DATASET_STATEMENT_TYPE, key.publicKey)).toBeUndefined();
  });

  test("is read as it was written", () => {
    expect(parseEnvelope(JSON.parse(JSON.stringify(envelope)))).toEqual(envelope);
  });

  test.each<[string, unknown]>([
    ["null", null],
    ["an array", [envelope]],
    ["another member", { ...envelope, note: "" }],
    ["no signature", { ...envelope, signatures: [] }],
    ["two signatures", { ...envelope, signatures: [signature, signature] }],
    [
      "a signature of 63 bytes",
      { ...envelope, signatures: [{ ...signature, sig: toBase64(new Uint8Array(63)) }] },
    ],
    ["base64url", { ...envelope, payload: `${envelope.payload.slice(0, -4)}-_-_` }],
    ["base64 without padding", { ...envelope, payload: toBase64(utf8("a")).replaceAll("=", "") }],
    ["base64 with bits left over", { ...envelope, payload: "YR==" }],
    [
      "base64 with white space",
      { ...envelope, payload: `${envelope.payload.slice(0, 4)} ${envelope.payload.slice(4)}` },
    ],
    ["a payload that is an object", { ...envelope, payload: {} }],
    ["a payload beyond the limit", { ...envelope, payload: "AAAA".repeat(4097) }],
    ["no type", { ...envelope, payloadType: "" }],
    ["a keyid that is a number", { ...envelope, signatures: [{ ...signature, keyid: 7 }] }],
  ])("with %s is refused by name", (_what, value) => {
    expect(() => parseEnvelope(value, "proof")).toThrow(/^proof: /);
  });

  test("names its key in lowercase alone", () => {
    const named = (keyid: string): Uint8Array | undefined =>
      keyOf({ ...envelope, signatures: [{ ...signature, keyid }] });
    expect(named(toHex(key.publicKey).toUpperCase())).toBeUndefined();
    expect(named("")).toBeUndefined();
    expect(named("00")).toBeUndefined();
  });
});

describe("a proof of possession", () => {
  const challenge = {
    audience: "urn:here",
    user: "9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90",
    issued_at: 1_000_000,
  };
  const proof = signKeyProof(challenge, "signing-key", key);
  const check = (now = challenge, publicKey = key.publicKey, given = proof): void =>
    checkKeyProof(given, publicKey, now, "signing-key");

  test("holds for 300 seconds", () => {
    check();
    check({ ...challenge, issued_at: 1_000_300 });
    expect(() => check({ ...challenge, issued_at: 1_000_301 })).toThrow("proof");
    expect(() => check({ ...challenge, issued_at: 999_999 })).toThrow("proof");
  });

  test("is for one user, gateway, key and purpose", () => {
    expect(() => check({ ...challenge, audience: "urn:there" })).toThrow("proof");
    expect(() => check({ ...challenge, user: "6f1c0f7e-7a51-4a4e-9d3e-0d6f3d1c2b1a" })).toThrow("proof");
    expect(() => check(challenge, other.publicKey)).toThrow("proof");
    expect(() => checkKeyProof(proof, key.publicKey, challenge, "training-node")).toThrow("proof");
    expect(() => check(challenge, key.publicKey, envelope)).toThrow("proof");
  });
});

describe("the known-keys file", () => {
  const text = `# friends\n${toHex(key.publicKey)} ada's laptop\n\n  ${toHex(other.publicKey)}\teve  \r\n`;

  test("names a key a line", () => {
    const keys = parseKnownKeys(text);
    expect(keys).toEqual([
      { publicKey: key.publicKey, name: "ada's laptop" },
      { publicKey: other.publicKey, name: "eve" },
    ]);
    expect(parseKnownKeys(formatKnownKeys(keys))).toEqual(keys);
  });

  test.each([
    ["no name", toHex(key.publicKey)],
    ["a short key", "00ff ada"],
    ["a key of small order", `${"00".repeat(32)} ada`],
  ])("with %s is refused by line", (_what, line) => {
    expect(() => parseKnownKeys(`# first\n${line}\n`, "FILE")).toThrow("FILE line 2");
  });
});

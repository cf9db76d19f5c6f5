/** Forged statements: signatures of versions, attestations, proofs of keys, and what lax verifiers take for a signature. */
import { readFileSync } from "node:fs";
import { statementOf } from "../../client/keys.ts";
import { toBase64 } from "../../core/base64.ts";
import { fromHex, toHex } from "../../core/bytes.ts";
import { utf8 } from "../../core/text.ts";
import { ATTESTATION_TYPE } from "../../core/trust/attestation-statement.ts";
import { DATASET_STATEMENT_TYPE } from "../../core/trust/dataset-statement.ts";
import { type Envelope, preAuthentication, signEnvelope } from "../../core/trust/dsse.ts";
import { type KeyPair, sign, verify } from "../../core/trust/ed25519.ts";
import { KEY_PROOF_TYPE, type KeyChallenge } from "../../core/trust/key-proof.ts";
import { statementBytes } from "../../core/trust/statement.ts";
import { newKey, type Person } from "../trust/fixture.ts";
import { type Attack, type AttackClass, listed, varied } from "./classes.ts";
import { ACCEPTED, type Answer, refusedAs } from "./send.ts";
import { as, created, freshKey, newNode, now, type World } from "./world.ts";

type Fields = Readonly<Record<string, unknown>>;
type Loose = { payloadType: unknown; payload: string; signatures: { keyid: unknown; sig: string }[] };

const DIGEST = "ab".repeat(32);
const WEEK = 7 * 24 * 3600;

export async function statementClasses(world: World): Promise<AttackClass[]> {
  const { ada, v2 } = world;
  const { key } = await newKey(ada, "signer");
  const attestor = freshKey();
  await ada.client.attestors.add({ name: "attestor", publicKey: toHex(attestor.publicKey) });
  const versions = await Promise.all(
    [v2, world.v1, world.other].map(async (id) => statementOf(await ada.client.datasets.get(id))),
  );
  const [statement, old, other] = versions as unknown as [Fields, Fields, Fields];
  const attestation = (): Fields => ({
    ...statement,
    claim: "looked at",
    issued_at: now(),
    expires_at: now() + WEEK,
  });
  const poster =
    (kind: string) =>
    (envelope: unknown, who = ada, dataset = v2): Promise<Answer> =>
      world.send({
        method: "POST",
        path: `/api/datasets/${dataset}/${kind}`,
        headers: as(who),
        body: { envelope },
      });
  const [bring, attest] = [poster("signatures"), poster("attestations")];
  const signed = (type: string, fields: Fields, by: KeyPair): Envelope =>
    signEnvelope(type, statementBytes(fields), by);
  const signature = (fields: Fields = statement, by = key): Envelope =>
    signed(DATASET_STATEMENT_TYPE, fields, by);
  const attested = (fields: Fields = {}, by = attestor): Envelope =>
    signed(ATTESTATION_TYPE, { ...attestation(), ...fields }, by);
  const without = (fields: Fields, name: string): Fields =>
    Object.fromEntries(Object.entries(fields).filter(([each]) => each !== name));

  const about: Readonly<Record<string, Fields>> = {
    "swapped schema": { schema_hash: DIGEST },
    "other content": { content_hash: DIGEST },
    "other owner": { owner: "eve" },
    "other name": { name: "others" },
    "earlier version": { version: 1 },
    "later version": { version: 3 },
    "no parent": { parent: null },
    "other parent": { parent: v2 },
    "version as text": { version: "2" },
    "digest in capitals": { content_hash: String(statement["content_hash"]).toUpperCase() },
    "a member more": { extra: 1 },
    "owner by id": { owner: ada.userId },
  };
  const bent = (
    make: () => Envelope,
    type: string,
  ): Readonly<Record<string, (envelope: Loose) => unknown>> => ({
    "type changed afterwards": (e) => ({
      ...signed(KEY_PROOF_TYPE, statement, key),
      payloadType: e.payloadType,
    }),
    "another type": (e) => ({ ...e, payloadType: `${type}x` }),
    "payload changed": (e) => ({ ...e, payload: `${e.payload.slice(0, 8)}A${e.payload.slice(9)}` }),
    "payload with a space": (e) => ({
      ...e,
      payload: toBase64(utf8(` ${Buffer.from(e.payload, "base64").toString()}`)),
    }),
    "payload not padded": (e) => ({
      ...e,
      payload: e.payload.replace(/=+$/, "") + (e.payload.endsWith("=") ? "" : "="),
    }),
    "no signature": (e) => ({ ...e, signatures: [] }),
    "two signatures": (e) => ({ ...e, signatures: [...e.signatures, ...e.signatures] }),
    "signature cut": (e) => withSignature(e, { sig: toBase64(new Uint8Array(63)) }),
    "signature of zeros": (e) => withSignature(e, { sig: toBase64(new Uint8Array(64)) }),
    "signature of another statement": (e) =>
      withSignature(e, { sig: (make() as unknown as Loose).signatures[0]?.sig ?? "" }),
    "first bit": (e) => withSignature(e, { sig: flipped(e, 0) }),
    "bit of S": (e) => withSignature(e, { sig: flipped(e, 300) }),
    "last bit": (e) => withSignature(e, { sig: flipped(e, 511) }),
    "signed without its type": (e) =>
      withSignature(e, { sig: toBase64(sign(new Uint8Array(Buffer.from(e.payload, "base64")), key)) }),
    "a stranger's signature under the key": (e) =>
      withSignature(e, { sig: signature(statement, freshKey()).signatures[0].sig }),
    "key in capitals": (e) => withSignature(e, { keyid: String(e.signatures[0]?.keyid).toUpperCase() }),
    "key empty": (e) => withSignature(e, { keyid: "" }),
    "key by number": (e) => withSignature(e, { keyid: 7 }),
    "key of small order": (e) =>
      withSignature(e, {
        keyid: `01${"00".repeat(31)}`,
        sig: toBase64(Uint8Array.from([1, ...new Uint8Array(63)])),
      }),
    "a member more": (e) => ({ ...e, x: 1 }),
    "a list": (e) => [e],
    "a text": (e) => JSON.stringify(e),
  });
  const bending = (
    make: () => Envelope,
    another: () => Envelope,
    type: string,
    send: (e: unknown) => Promise<Answer>,
  ): Attack[] =>
    varied(bent(another, type), (change) => send(change(structuredClone(make()) as unknown as Loose)));

  return [
    {
      name: "signature: what it is about",
      code: "invalid_argument",
      sound: () => bring(signature()),
      attacks: [
        ...varied(about, (change) => bring(signature({ ...statement, ...change }))),
        { what: "an old version's statement as the new one's", attempt: () => bring(signature(old)) },
        { what: "another dataset's statement", attempt: () => bring(signature(other)) },
        {
          what: "the new version's statement for the old one",
          attempt: () => bring(signature(), ada, world.v1),
        },
        { what: "without parent", attempt: () => bring(signature(without(statement, "parent"))) },
      ],
    },
    {
      name: "signature: its envelope",
      code: "invalid_argument",
      sound: () => bring(signature()),
      attacks: bending(signature, () => signature(old), DATASET_STATEMENT_TYPE, bring),
    },
    {
      name: "signature: not one's own key",
      code: "permission_denied",
      sound: () => bring(signature()),
      attacks: await foreignKeys(world, key, (by, who) => bring(signature(statement, by), who)),
    },
    {
      name: "attestation: what it says",
      code: "invalid_argument",
      sound: () => attest(attested()),
      attacks: varied<Fields>(
        {
          ...about,
          expired: { issued_at: now() - WEEK, expires_at: now() - 1 },
          "of the future": { issued_at: now() + 3_600 },
          "without end": { expires_at: now() + 200 * WEEK },
          "ends before it begins": { expires_at: now() - WEEK },
          "no claim": { claim: "" },
          "long claim": { claim: "x".repeat(1_025) },
        },
        (change) => attest(attested(change)),
      ),
    },
    {
      name: "attestation: its envelope",
      code: "invalid_argument",
      sound: () => attest(attested()),
      attacks: bending(attested, () => attested({ claim: "else" }), ATTESTATION_TYPE, attest),
    },
    {
      name: "attestation: by whom",
      code: "permission_denied",
      sound: () => attest(attested()),
      attacks: await foreignAttestors(world, key, (by, who) => attest(attested({}, by), who)),
    },
    await keyProofs(world),
    smallOrderKeys(world),
    laxSignatures(),
  ];
}

/** Keys of others, and of one's own that are no signing keys. */
async function foreignKeys(
  world: World,
  key: KeyPair,
  bring: (by: KeyPair, who?: Person) => Promise<Answer>,
): Promise<Attack[]> {
  const { ada, eve, carol, bob } = world;
  const revoked = await newKey(ada, "revoked");
  await ada.client.keys.revoke(revoked.registered.id);
  const evesRevoked = await newKey(eve, "revoked");
  await eve.client.keys.revoke(evesRevoked.registered.id);
  const known = freshKey();
  for (const path of ["/api/known-keys", "/api/admin/known-keys"])
    await created(world, "POST", path, { name: path, public_key: toHex(known.publicKey) });
  const by = (what: string, pair: KeyPair, who?: Person): Attack => ({
    what,
    attempt: () => bring(pair, who),
  });
  return [
    by("nobody's", freshKey()),
    by("nobody's, by a reader", freshKey(), eve),
    by("revoked", revoked.key),
    by("revoked, by a reader", revoked.key, eve),
    by("a reader's", (await newKey(eve, "desk")).key),
    by("a stranger's", (await newKey(bob, "desk")).key),
    by("a reader's that was revoked", evesRevoked.key),
    by("the owner's, brought by a reader", key, eve),
    by("the owner's, brought by another reader", key, carol),
    by("a training node's", (await newNode(world)).key),
    by("known to everybody, registered by nobody", known),
  ];
}

async function foreignAttestors(
  world: World,
  key: KeyPair,
  attest: (by: KeyPair, who?: Person) => Promise<Answer>,
): Promise<Attack[]> {
  const { ada, eve, bob } = world;
  const { attestors } = ada.client;
  const removed = freshKey();
  await attestors.add({ name: "removed", publicKey: toHex(removed.publicKey) });
  await attestors.remove(toHex(removed.publicKey));
  const owners = await newKey(ada, "owner's and attestor's");
  await attestors.add({ name: "owner", publicKey: toHex(owners.key.publicKey) });
  const revoked = await newKey(eve, "revoked attestor's");
  await attestors.add({ name: "revoked", publicKey: toHex(revoked.key.publicKey) });
  await eve.client.keys.revoke(revoked.registered.id);
  const by = (what: string, pair: KeyPair, who?: Person): Attack => ({
    what,
    attempt: () => attest(pair, who),
  });
  return [
    by("nobody's", freshKey()),
    by("nobody's, by a reader", freshKey(), eve),
    by("a reader's", (await newKey(eve, "chair")).key, eve),
    by("a stranger's", (await newKey(bob, "chair")).key),
    by("removed from the list", removed),
    by("removed from the list, by a reader", removed, eve),
    by("the owner's signing key", key),
    by("the owner's, though it is listed", owners.key),
    by("the owner's, though it is listed, by a reader", owners.key, eve),
    by("listed, but revoked by whose it is", revoked.key),
    by("listed, but revoked, brought by whose it was", revoked.key, eve),
    by("a training node's", (await newNode(world)).key),
  ];
}

async function keyProofs(world: World): Promise<AttackClass> {
  const { ada, eve, bob } = world;
  const challenge = async (who = ada): Promise<KeyChallenge> =>
    (await (await world.gateway.request("/api/keys/challenge", { headers: as(who) })).json()) as KeyChallenge;
  const register = async (
    change: Fields = {},
    options: {
      type?: string;
      by?: KeyPair;
      whose?: Person;
      claimed?: string;
      bend?: (e: Loose) => unknown;
    } = {},
  ): Promise<Answer> => {
    const key = freshKey();
    const public_key = toHex(key.publicKey);
    const { audience, user, issued_at } = await challenge(options.whose);
    const claims = { audience, user, issued_at, purpose: "signing-key", public_key, ...change };
    const proof = signEnvelope(options.type ?? KEY_PROOF_TYPE, statementBytes(claims), options.by ?? key);
    return world.send({
      method: "POST",
      path: "/api/keys",
      headers: as(ada),
      body: {
        name: public_key,
        public_key: options.claimed ?? public_key,
        proof: options.bend?.(proof as unknown as Loose) ?? proof,
      },
    });
  };
  return {
    name: "proof of a signing key",
    code: "invalid_argument",
    async sound() {
      const { registered } = await newKey(ada, `sound ${now()} ${Math.random()}`);
      await ada.client.keys.revoke(registered.id);
      return ACCEPTED;
    },
    attacks: [
      ...varied<Fields>(
        {
          "for another gateway": { audience: "urn:other" },
          "for another user": { user: eve.userId },
          "for a training node": { purpose: "training-node" },
          "for no purpose": { purpose: "" },
          "of another key": { public_key: toHex(freshKey().publicKey) },
          "too old": { issued_at: now() - 301 },
          "very old": { issued_at: 0 },
          "of the future": { issued_at: now() + 3_600 },
          "at no time": { issued_at: "now" },
          "a member more": { x: 1 },
        },
        (change) => register(change),
      ),
      { what: "signed by another key", attempt: () => register({}, { by: freshKey() }) },
      { what: "of another type", attempt: () => register({}, { type: DATASET_STATEMENT_TYPE }) },
      { what: "for a stranger", attempt: () => register({}, { whose: bob }) },
      {
        what: "for somebody else's public key",
        attempt: () => register({}, { claimed: toHex(freshKey().publicKey) }),
      },
      { what: "without signature", attempt: () => register({}, { bend: (e) => ({ ...e, signatures: [] }) }) },
      {
        what: "with one bit changed",
        attempt: () => register({}, { bend: (e) => withSignature(e, { sig: flipped(e, 17) }) }),
      },
    ],
  };
}

const SMALL_ORDER: readonly string[] = [
  `01${"00".repeat(31)}`,
  `ec${"ff".repeat(30)}7f`,
  "00".repeat(32),
  `${"00".repeat(31)}80`,
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
  `01${"00".repeat(30)}80`,
  `ee${"ff".repeat(30)}7f`,
  `ed${"ff".repeat(30)}ff`,
  `02${"00".repeat(31)}`,
  "ff".repeat(32),
];

/** Public keys under which anybody can sign, or that have a second spelling. */
function smallOrderKeys(world: World): AttackClass {
  const add = (path: string, public_key: string): Promise<Answer> =>
    world.send({ method: "POST", path, headers: as(world.ada), body: { name: "x", public_key } });
  return {
    name: "unsound public key",
    code: "invalid_argument",
    sound: () => add("/api/known-keys", toHex(freshKey().publicKey)),
    attacks: ["/api/known-keys", "/api/admin/known-keys"].flatMap((path) =>
      listed(path, SMALL_ORDER, (publicKey) => add(path, publicKey)),
    ),
  };
}

interface EdgeCase {
  readonly message: string;
  readonly public_key: string;
  readonly signature: string;
}

/** Published vectors on which verifiers of Ed25519 disagree. */
function laxSignatures(): AttackClass {
  const file = new URL("../vectors/ed25519-edge-cases.json", import.meta.url);
  const { cases } = JSON.parse(readFileSync(file, "utf8")) as { readonly cases: readonly EdgeCase[] };
  const bytes = (hex: string): Uint8Array => fromHex(hex) as Uint8Array;
  const answer = (parts: readonly [Uint8Array, Uint8Array, Uint8Array]): Promise<Answer> =>
    Promise.resolve(verify(...parts) ? ACCEPTED : refusedAs("false"));
  const key = freshKey();
  const message = preAuthentication("x", utf8("y"));
  return {
    name: "Ed25519: what lax verifiers accept",
    code: "false",
    sound: () => answer([sign(message, key), message, key.publicKey]),
    attacks: cases.map((each, index) => ({
      what: `vector ${index}`,
      attempt: () => answer([bytes(each.signature), bytes(each.message), bytes(each.public_key)]),
    })),
  };
}

function withSignature(envelope: Loose, change: Partial<Loose["signatures"][0]>): unknown {
  return { ...envelope, signatures: [{ ...envelope.signatures[0], ...change }] };
}

function flipped({ signatures }: Loose, bit: number): string {
  const bytes = Buffer.from(signatures[0]?.sig ?? "", "base64");
  bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
  return bytes.toString("base64");
}

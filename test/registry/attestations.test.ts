/** Attestations through the real gateway: who counts, for how long, and what is refused. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { statementOf } from "../../client/keys.ts";
import { toHex } from "../../core/bytes.ts";
import { ATTESTATION_MAX_SECONDS, ATTESTATION_CLOCK_SECONDS } from "../../core/limits.ts";
import {
  ATTESTATION_TYPE,
  type Attestation,
  encodeAttestation,
} from "../../core/trust/attestation-statement.ts";
import { DATASET_STATEMENT_TYPE } from "../../core/trust/dataset-statement.ts";
import { type Envelope, signEnvelope } from "../../core/trust/dsse.ts";
import { type KeyPair, keyPairOf } from "../../core/trust/ed25519.ts";
import { statementBytes } from "../../core/trust/statement.ts";
import type { TestGateway } from "../support/gateway.ts";
import { newKey, ownerOf, person, type Person, share, signed, startWords } from "../trust/fixture.ts";

const DAY = 24 * 3_600;

let gateway: TestGateway;
let admin: Person;
let eve: Person;
let datasetId: string;
let attestor: KeyPair;

const freshKey = (): KeyPair => keyPairOf(new Uint8Array(randomBytes(32)));
const now = (): number => Math.floor(Date.now() / 1000);

/** A sound attestation of the dataset, with members changed where a test says so. */
async function attestation(changes: Partial<Attestation> = {}): Promise<Attestation> {
  const statement = statementOf(await admin.client.datasets.get(datasetId));
  return { ...statement, claim: "labels checked", issued_at: now(), expires_at: now() + DAY, ...changes };
}

async function envelope(key: KeyPair, changes: Partial<Attestation> = {}): Promise<Envelope> {
  return signEnvelope(ATTESTATION_TYPE, encodeAttestation(await attestation(changes)), key);
}

const list = (key: KeyPair, name = "reviewer"): Promise<unknown> =>
  admin.client.attestors.add({ name, publicKey: toHex(key.publicKey) });

const levelFor = async ({ client }: Person): Promise<string> => (await client.datasets.get(datasetId)).trust;

beforeAll(async () => {
  gateway = await startWords(2);
  admin = ownerOf(gateway);
  eve = await person(gateway, "eve");
  datasetId = (await admin.client.datasets.get("words@1")).id;
  await share(gateway, datasetId, eve.userId);
}, 60_000);
afterAll(() => gateway.stop());

beforeEach(async () => {
  await gateway.database.sql.query({ text: "delete from dataset_evidence", values: [] });
  attestor = freshKey();
});

test("before the first attestor the list is empty, and not an error", async () => {
  expect(await eve.client.attestors.list()).toEqual({
    version: 0,
    created_at: null,
    expires_at: null,
    in_force: false,
    attestors: [],
  });
});

describe("an attestation", () => {
  test("by a listed attestor gives level 3 to everybody, whoever brings it", async () => {
    await list(attestor);
    expect(await levelFor(eve)).toBe("untrusted");
    const recorded = await eve.client.attestors.attest(datasetId, await envelope(attestor));
    expect(recorded).toMatchObject({
      kind: "attestation",
      public_key: toHex(attestor.publicKey),
      trust: "attested",
    });
    expect(await levelFor(eve)).toBe("attested");
    expect(await levelFor(admin)).toBe("attested");
  });

  test("counts from the list alone: not before the key is on it, not after it left", async () => {
    const made = await envelope(attestor);
    await expect(eve.client.attestors.attest(datasetId, made)).rejects.toMatchObject({
      code: "permission_denied",
    });
    await list(attestor);
    await eve.client.attestors.attest(datasetId, made);
    expect(await levelFor(eve)).toBe("attested");
    await admin.client.attestors.remove(toHex(attestor.publicKey));
    expect(await levelFor(eve)).toBe("untrusted");
    await expect(eve.client.attestors.attest(datasetId, made)).rejects.toMatchObject({
      code: "permission_denied",
    });
    await list(attestor);
    expect(await levelFor(eve)).toBe("attested");
  });

  test("never counts by a key of the owner, nor by one that was revoked", async () => {
    const own = await newKey(admin, "own");
    await list(own.key, "the owner");
    await expect(admin.client.attestors.attest(datasetId, await envelope(own.key))).rejects.toMatchObject({
      code: "permission_denied",
    });
    // A key that somebody else registered may attest, until they revoke it.
    const other = await newKey(eve, "eve's");
    await list(other.key, "eve");
    await eve.client.attestors.attest(datasetId, await envelope(other.key));
    expect(await levelFor(eve)).toBe("attested");
    await eve.client.keys.revoke(other.registered.id);
    expect(await levelFor(eve)).toBe("untrusted");
  });

  test("ends when it expires, and when the list does", async () => {
    await list(attestor);
    await eve.client.attestors.attest(datasetId, await envelope(attestor));
    const shift = (text: string): Promise<unknown> => gateway.database.sql.query({ text, values: [] });
    await shift(
      "update attestor_lists set created_at = now() - interval '2 days', expires_at = now() - interval '1 day'",
    );
    expect(await levelFor(eve)).toBe("untrusted");
    expect(await eve.client.attestors.list()).toMatchObject({ in_force: false });
    await admin.client.attestors.renew(60);
    expect(await levelFor(eve)).toBe("attested");
    await shift(
      "update dataset_evidence set created_at = now() - interval '2 days', expires_at = now() - interval '1 day'",
    );
    expect(await levelFor(eve)).toBe("untrusted");
  });

  test("takes the place of one that ends sooner, not of one that ends later", async () => {
    await list(attestor);
    const short = await envelope(attestor, { expires_at: now() + DAY });
    const long = await envelope(attestor, { expires_at: now() + 2 * DAY });
    const first = await eve.client.attestors.attest(datasetId, short);
    const second = await eve.client.attestors.attest(datasetId, long);
    const third = await eve.client.attestors.attest(datasetId, short);
    expect(second).toMatchObject({ id: first.id, envelope: long });
    expect(third).toMatchObject({ id: first.id, envelope: long, expires_at: second.expires_at });
  });

  test("opens streams that accept level 3, and ends them with its attestor", async () => {
    await list(attestor);
    await eve.client.attestors.attest(datasetId, await envelope(attestor));
    const { token } = await eve.client.datasets.createToken(datasetId);
    const stream = async (): Promise<number> => {
      let batches = 0;
      const options = { dataset: datasetId, accessToken: token, batchSize: 1, maxTrustLevel: 3 };
      for await (const _ of eve.client.streamBatches(options)) batches++;
      return batches;
    };
    expect(await stream()).toBe(2);
    await admin.client.attestors.remove(toHex(attestor.publicKey));
    await expect(stream()).rejects.toMatchObject({ code: "permission_denied" });
  });
});

describe("withdrawing", () => {
  const withdraw = async (by: Person, id: string): Promise<number> => {
    const headers = { authorization: `Bearer ${by.apiKey}` };
    return (await gateway.request(`/api/attestations/${id}`, { method: "DELETE", headers })).status;
  };
  const evidence = async (): Promise<{ withdrawn_at: string | null }[]> => {
    const answer = await gateway.request(`/api/datasets/${datasetId}/evidence`);
    return ((await answer.json()) as { evidence: { withdrawn_at: string | null }[] }).evidence;
  };

  test("takes one attestation back, for its attestor and for administrators, and for nobody else", async () => {
    const ivy = await person(gateway, `ivy-${now()}`);
    const { key } = await newKey(ivy, "ivy");
    await list(key, "ivy");
    await list(attestor);
    // She needs no access to the version: somebody else brings what she made.
    const ivys = await eve.client.attestors.attest(datasetId, await envelope(key));
    const other = await eve.client.attestors.attest(datasetId, await envelope(attestor));
    // Who brought it did not make it.
    expect(await withdraw(eve, ivys.id)).toBe(404);
    expect(await withdraw(eve, "none")).toBe(404);
    expect(await withdraw(ivy, other.id)).toBe(404);
    expect(await withdraw(ivy, ivys.id)).toBe(204);
    expect(await withdraw(ivy, ivys.id)).toBe(204);
    expect(await levelFor(eve)).toBe("attested");
    expect(await evidence()).toMatchObject([{ withdrawn_at: expect.any(String) }, { withdrawn_at: null }]);
    expect(await withdraw(admin, other.id)).toBe(204);
    expect(await levelFor(eve)).toBe("untrusted");
  });

  test("cannot be undone by bringing an old one, only by a later one", async () => {
    await list(attestor);
    const short = await envelope(attestor);
    const long = await envelope(attestor, { claim: "another", expires_at: now() + 3 * DAY });
    const ahead = await envelope(attestor, { issued_at: now() + 100 });
    const { id } = await eve.client.attestors.attest(datasetId, ahead);
    expect(await withdraw(admin, id)).toBe(204);
    for (const old of [ahead, short, long])
      await expect(eve.client.attestors.attest(datasetId, old)).rejects.toMatchObject({
        code: "failed_precondition",
      });
    expect(await levelFor(eve)).toBe("untrusted");
    // Ends sooner than the one that was withdrawn, and counts all the same.
    const later = await envelope(attestor, { issued_at: now() + 110, expires_at: now() + 600 });
    expect(await eve.client.attestors.attest(datasetId, later)).toMatchObject({ id, trust: "attested" });
    expect(await levelFor(eve)).toBe("attested");
    // Nor does one of before come back because it ends later.
    await expect(eve.client.attestors.attest(datasetId, long)).resolves.toMatchObject({ envelope: later });
    expect(await withdraw(admin, id)).toBe(204);
    expect(await levelFor(eve)).toBe("untrusted");
  });

  test("does nothing to a signature", async () => {
    const { key } = await newKey(admin, `signs-${now()}`);
    await admin.client.keys.sign(datasetId, await signed(admin, datasetId, key));
    const [signature] = (await evidence()) as unknown as { id: string }[];
    expect(await withdraw(admin, signature?.id ?? "")).toBe(404);
  });
});

describe("is refused, while the sound one is taken:", () => {
  const otherDigest = "ab".repeat(32);
  test.each<[string, (key: KeyPair) => Promise<unknown>]>([
    ["another content", (key) => envelope(key, { content_hash: otherDigest })],
    ["another schema", (key) => envelope(key, { schema_hash: otherDigest })],
    ["another version", (key) => envelope(key, { version: 2 })],
    ["another name", (key) => envelope(key, { name: "other" })],
    ["another owner", (key) => envelope(key, { owner: "eve" })],
    ["another parent", (key) => envelope(key, { parent: "9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90" })],
    ["an expired one", (key) => envelope(key, { issued_at: now() - DAY, expires_at: now() - 1 })],
    ["one of the future", (key) => envelope(key, { issued_at: now() + ATTESTATION_CLOCK_SECONDS + 60 })],
    [
      "one that ends before it begins",
      (key) => envelope(key, { issued_at: now() - 10, expires_at: now() - 10 }),
    ],
    ["one for too long", (key) => envelope(key, { expires_at: now() + ATTESTATION_MAX_SECONDS + 60 })],
    ["an empty claim", (key) => envelope(key, { claim: "" })],
    [
      "a member more",
      async (key) => signEnvelope(ATTESTATION_TYPE, statementBytes({ ...(await attestation()), x: 1 }), key),
    ],
    [
      "a member less",
      async (key) => {
        const { claim: _, ...rest } = await attestation();
        return signEnvelope(ATTESTATION_TYPE, statementBytes(rest), key);
      },
    ],
    [
      "JSON that is not canonical",
      async (key) =>
        signEnvelope(
          ATTESTATION_TYPE,
          new TextEncoder().encode(`${JSON.stringify(await attestation())} `),
          key,
        ),
    ],
    [
      "the type of a signature",
      async (key) => signEnvelope(DATASET_STATEMENT_TYPE, encodeAttestation(await attestation()), key),
    ],
    [
      "the type changed after signing",
      async (key) => ({
        ...signEnvelope(DATASET_STATEMENT_TYPE, encodeAttestation(await attestation()), key),
        payloadType: ATTESTATION_TYPE,
      }),
    ],
    [
      "somebody else's signature under the attestor's key",
      async (key) => {
        const {
          signatures: [{ sig }],
          ...rest
        } = await envelope(freshKey());
        return { ...rest, signatures: [{ keyid: toHex(key.publicKey), sig }] };
      },
    ],
    [
      "the signature of another attestation",
      async (key) => ({
        ...(await envelope(key)),
        signatures: (await envelope(key, { claim: "other" })).signatures,
      }),
    ],
  ])("%s", async (_, forge) => {
    await list(attestor);
    const forged = (await forge(attestor)) as Envelope;
    await expect(eve.client.attestors.attest(datasetId, forged)).rejects.toMatchObject({
      code: "invalid_argument",
    });
    expect(await levelFor(eve)).toBe("untrusted");
    await eve.client.attestors.attest(datasetId, await envelope(attestor));
    expect(await levelFor(eve)).toBe("attested");
  });

  test("a stranger learns nothing", async () => {
    await list(attestor);
    const mallory = await person(gateway, "mallory");
    const made = await envelope(attestor);
    for (const id of [datasetId, "9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90"])
      await expect(mallory.client.attestors.attest(id, made)).rejects.toMatchObject({
        code: "not_found",
        message: expect.stringContaining("there is no such dataset"),
      });
  });
});

describe("the list", () => {
  test("has a version for each change, and a key once", async () => {
    const before = (await list(attestor)) as { version: number };
    await expect(list(attestor)).rejects.toMatchObject({ code: "already_exists" });
    const removed = await admin.client.attestors.remove(toHex(attestor.publicKey));
    expect(removed.version).toBe(before.version + 1);
    expect(removed.attestors.map(({ public_key }) => public_key)).not.toContain(toHex(attestor.publicKey));
    await expect(admin.client.attestors.remove(toHex(attestor.publicKey))).rejects.toMatchObject({
      code: "not_found",
    });
    expect(await eve.client.attestors.list()).toEqual(removed);
  });

  test("is for administrators to change, and takes sound keys only", async () => {
    const publicKey = toHex(attestor.publicKey);
    await expect(eve.client.attestors.add({ name: "eve", publicKey })).rejects.toMatchObject({
      code: "permission_denied",
    });
    await list(attestor);
    await expect(eve.client.attestors.remove(publicKey)).rejects.toMatchObject({ code: "permission_denied" });
    await expect(eve.client.attestors.renew()).rejects.toMatchObject({ code: "permission_denied" });
    // The neutral element, a point of order 2.
    for (const bad of [`01${"00".repeat(31)}`, `ec${"ff".repeat(30)}7f`])
      await expect(admin.client.attestors.add({ name: "small", publicKey: bad })).rejects.toMatchObject({
        code: "invalid_argument",
      });
  });

  test("keeps its time when somebody leaves", async () => {
    const { expires_at } = await admin.client.attestors.renew(3_600);
    const other = freshKey();
    const added = await admin.client.attestors.add({
      name: "short",
      publicKey: toHex(other.publicKey),
      ttlSeconds: 600,
    });
    expect(Date.parse(`${added.expires_at}`)).toBeLessThan(Date.parse(`${expires_at}`));
    expect(await admin.client.attestors.remove(toHex(other.publicKey))).toMatchObject({
      expires_at: added.expires_at,
    });
  });
});

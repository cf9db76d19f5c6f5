/** A stream that needs a signature runs for as long as the signature counts. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { randomBytes } from "node:crypto";
import { statementOf } from "../../client/keys.ts";
import { toHex } from "../../core/bytes.ts";
import { ATTESTATION_TYPE, encodeAttestation } from "../../core/trust/attestation-statement.ts";
import { signEnvelope } from "../../core/trust/dsse.ts";
import { type KeyPair, keyPairOf } from "../../core/trust/ed25519.ts";
import type { TestGateway } from "../support/gateway.ts";
import { WireStream } from "../stream/wire.ts";
import {
  newKey,
  ownerOf,
  person,
  type Person,
  type RegisteredKey,
  share,
  signed,
  startWords,
} from "./fixture.ts";

const FILES = 120;
/** The whole dataset is more than a connection and the gateway hold for a reader that waits. */
const FILE_BYTES = 200_000;

let gateway: TestGateway;
let ada: Person;
let id: string;
beforeAll(async () => {
  gateway = await startWords(FILES, FILE_BYTES);
  ada = ownerOf(gateway);
  id = (await ada.client.datasets.get("words")).id;
}, 60_000);
afterAll(() => gateway.stop());

/** A reader whose stream passes at level 1 by this key, and no better. */
async function reader(name: string): Promise<{ user: Person; token: string } & RegisteredKey> {
  const user = await person(gateway, name);
  await share(gateway, id, user.userId);
  const { key, registered } = await newKey(ada, name);
  await ada.client.keys.sign(id, await signed(ada, id, key));
  await user.client.keys.addKnown({ name: "ada", publicKey: toHex(key.publicKey) });
  const { token } = await user.client.datasets.createToken(id);
  return { user, token, key, registered };
}

const open = (accessToken: string, maxTrustLevel: number): Promise<WireStream> =>
  WireStream.open(gateway.url, { datasetId: id, accessToken, batchSize: 2, maxTrustLevel });

async function drain(stream: WireStream): Promise<number> {
  let batches = 0;
  while ((await stream.next()) !== undefined) batches++;
  return batches;
}

describe("a running stream that passed by a signature", () => {
  const endings: [string, (each: Awaited<ReturnType<typeof reader>>) => Promise<void>][] = [
    ["the key is revoked", ({ registered }) => ada.client.keys.revoke(registered.id)],
    ["the reader forgets the key", ({ user, key }) => user.client.keys.removeKnown(toHex(key.publicKey))],
  ];

  test.each(endings)("ends when %s", async (what, end) => {
    const each = await reader(what.replaceAll(" ", "-"));
    const stream = await open(each.token, 1);
    expect(await stream.next()).toBeDefined();
    await end(each);
    expect(await drain(stream)).toBeLessThan(FILES / 2 - 1);
    expect(stream.end).toMatchObject({ code: "unauthenticated", continuation: undefined });

    const refused = await open(each.token, 1);
    expect(await drain(refused)).toBe(0);
    expect(refused.end?.code).toBe("permission_denied");
    // Whoever accepts untrusted data still gets it.
    expect(await drain(await open(each.token, 4))).toBe(FILES / 2);
  });

  test("does not end when the level that it accepts still holds", async () => {
    const { token, registered } = await reader("lenient");
    const stream = await open(token, 4);
    expect(await stream.next()).toBeDefined();
    await ada.client.keys.revoke(registered.id);
    expect(await drain(stream)).toBe(FILES / 2 - 1);
    expect(stream.end?.code).toBeUndefined();
  });

  test("does not end when another known key signed as well", async () => {
    const { user, token, registered } = await reader("twofold");
    const second = await newKey(ada, "second");
    await ada.client.keys.sign(id, await signed(ada, id, second.key));
    await user.client.keys.addKnown({ name: "second", publicKey: toHex(second.key.publicKey) });
    const stream = await open(token, 1);
    expect(await stream.next()).toBeDefined();
    await ada.client.keys.revoke(registered.id);
    expect(await drain(stream)).toBe(FILES / 2 - 1);
    expect(stream.end?.code).toBeUndefined();
  });
});

describe("a running stream that passed by an attestation", () => {
  const endings: [string, (key: KeyPair, id: string) => Promise<unknown>][] = [
    ["its attestor leaves the list", (key) => ada.client.attestors.remove(toHex(key.publicKey))],
    [
      "it is withdrawn",
      async (_, evidence) =>
        expect((await gateway.request(`/api/attestations/${evidence}`, { method: "DELETE" })).status).toBe(
          204,
        ),
    ],
  ];

  test.each(endings)("ends when %s", async (what, end) => {
    const user = await person(gateway, what.replaceAll(" ", "-"));
    await share(gateway, id, user.userId);
    const key = keyPairOf(new Uint8Array(randomBytes(32)));
    await ada.client.attestors.add({ name: what, publicKey: toHex(key.publicKey) });
    const issued_at = Math.floor(Date.now() / 1000);
    const statement = { ...statementOf(await ada.client.datasets.get(id)), claim: "read", issued_at };
    const payload = encodeAttestation({ ...statement, expires_at: issued_at + 600 });
    const attested = await ada.client.attestors.attest(id, signEnvelope(ATTESTATION_TYPE, payload, key));
    const { token } = await user.client.datasets.createToken(id);

    const stream = await open(token, 3);
    expect(await stream.next()).toBeDefined();
    await end(key, attested.id);
    expect(await drain(stream)).toBeLessThan(FILES / 2 - 1);
    expect(stream.end).toMatchObject({ code: "unauthenticated", continuation: undefined });
    const refused = await open(token, 3);
    expect(await drain(refused)).toBe(0);
    expect(refused.end?.code).toBe("permission_denied");
  });
});

test("the owner's own stream needs no signature", async () => {
  const { token } = await ada.client.datasets.createToken(id);
  expect(await drain(await open(token, 0))).toBe(FILES / 2);
});

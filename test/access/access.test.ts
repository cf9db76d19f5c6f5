import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findDataset } from "../../catalog/datasets.ts";
import { putShare, removeShare, type ShareRow } from "../../catalog/shares.ts";
import { createApiKey, createUser } from "../../catalog/users.ts";
import { toHex } from "../../core/bytes.ts";
import type { Action } from "../../core/access/scopes.ts";
import { DataStreamError } from "../../core/errors.ts";
import { authorize, authorizeStream, callerFrom, type Caller } from "../../functions/access.ts";
import { issueToken, tokenStatus, withdrawToken } from "../../functions/access-tokens.ts";
import { hashApiKey } from "../../functions/auth.ts";
import { deleteDataset } from "../../functions/dataset-work.ts";
import { TokenSigner } from "../../functions/tokens.ts";
import { createSigningKeys } from "../../scripts/stack/state.ts";
import { createBench, createJob } from "../datasets/fixture.ts";

const bench = await createBench();
afterAll(() => bench.close());
const { sql, ownerId: ada } = bench;
const { id: eve } = await createUser(sql, { name: "eve", role: "owner" });

const time = { ms: Date.UTC(2026, 10, 22) };
const keys = createSigningKeys();
const deps = {
  sql,
  tokens: await TokenSigner.load(keys, "urn:test"),
  clock: { now: () => time.ms },
  proofs: { useOnce: () => Promise.reject(new Error("No token here is bound.")) },
};
const presentation = {
  method: "POST",
  url: "https://gateway.example/",
  scheme: undefined,
  proof: undefined,
  certificate: undefined,
} as const;
const user = (userId: string): Caller => ({ kind: "user", userId });
const holder = (token: string): Caller => ({ kind: "token", token, presentation });

async function refusal(
  answer: Promise<unknown>,
): Promise<{ code: string; message: string; details: unknown }> {
  const error: unknown = await answer.then(
    () => "accepted",
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DataStreamError);
  const { code, message, details } = error as DataStreamError;
  return { code, message, details };
}

async function create(name: string): Promise<string> {
  const job = await bench.run(createJob(ada, { name, files: ["photos/*"] }));
  return (job.result as { dataset_id: string }).dataset_id;
}

let [v1, v2, other] = ["", "", ""];
beforeAll(async () => {
  await bench.declare(await bench.bucket("photos"), ["a.png", "b.png"]);
  v1 = await create("pets");
  v2 = await create("pets");
  other = await create("plants");
});

const issue = (
  reference: string,
  scopes: readonly string[] = ["read", "stream"],
  userId = ada,
): ReturnType<typeof issueToken> =>
  issueToken(deps, userId, reference, { scopes, ttlSeconds: 3600, node: "" });

describe("a reference", () => {
  const idOf = async (reference: string): Promise<string> =>
    (await authorize(deps, user(ada), reference, "manage")).dataset.id;

  test("names a version in every way there is", async () => {
    const { contentHash } = (await findDataset(sql, ada, { id: v1 }))?.dataset ?? {
      contentHash: new Uint8Array(),
    };
    const hex = toHex(contentHash);
    expect(await idOf(v1)).toBe(v1);
    expect(await idOf(v1.toUpperCase())).toBe(v1);
    expect(await idOf("pets")).toBe(v2);
    expect(await idOf("ada/pets")).toBe(v2);
    expect(await idOf("pets@1")).toBe(v1);
    expect(await idOf("ada/pets@2")).toBe(v2);
    // Both versions have the same files: the newest is meant.
    expect(await idOf(`pets@blake3:${hex}`)).toBe(v2);
    expect(await idOf(`${v1}@blake3:${hex}`)).toBe(v1);
  });

  test.each(["nothing", "pets@3", "eve/pets", `pets@blake3:${"0".repeat(64)}`, randomUUID()])(
    "to what is not there, %s, is not found",
    async (reference) => {
      const { code } = await refusal(authorize(deps, user(ada), reference, "describe"));
      expect(code).toBe("not_found");
    },
  );

  test("that is malformed is refused by field", async () => {
    for (const reference of ["", "No Name", "pets@", "pets@0", "pets@blake3:00"])
      expect(await refusal(authorize(deps, user(ada), reference, "describe"))).toMatchObject({
        code: "invalid_argument",
        details: { field: "dataset_id" },
      });
  });
});

describe("a stranger", () => {
  test.each(["describe", "read", "stream", "manage"] as const)(
    "who wants to %s is answered as if the dataset did not exist",
    async (action: Action) => {
      const missing = await refusal(authorize(deps, user(eve), randomUUID(), action));
      expect(missing.code).toBe("not_found");
      for (const reference of [v1, "ada/pets", "ada/pets@1", "pets", "ada/nothing"])
        expect(await refusal(authorize(deps, user(eve), reference, action))).toEqual(missing);
    },
  );

  test("can neither issue nor revoke a token", async () => {
    const missing = await refusal(issue(randomUUID(), ["read"], eve));
    expect(await refusal(issue(v1, ["read"], eve))).toEqual(missing);
    const { id, token } = await issue(v1);
    expect(await refusal(withdrawToken(deps, eve, id))).toEqual(
      await refusal(withdrawToken(deps, eve, randomUUID())),
    );
    expect(await tokenStatus(deps, token)).toMatchObject({ valid: true });
  });
});

describe("an access token", () => {
  const stream = (token: string, datasetRef: string, maxTrustLevel = 0): ReturnType<typeof authorizeStream> =>
    authorizeStream(deps, { datasetRef, token, presentation, maxTrustLevel });

  test("opens its version under every name of it, and by a bare name that version too", async () => {
    const { token, id } = await issue(v1);
    for (const reference of [v1, "pets", "ada/pets", "pets@1", "ada/pets@1"]) {
      const access = await stream(token, reference);
      expect(access).toMatchObject({
        dataset: { id: v1, version: 1 },
        issuedBy: ada,
        tokenId: id,
        trustLevel: 0,
      });
      expect(access.expiresAt).toEqual(new Date(time.ms + 3_600_000));
    }
    const { scopes } = (await authorize(deps, holder(token), "pets", "read")).token ?? { scopes: [] };
    expect(scopes).toEqual(["read", "stream"]);
  });

  test("opens no other version and no other dataset, and does not say which exist", async () => {
    const { token } = await issue(v1);
    await stream(token, v1);
    const missing = await refusal(stream(token, randomUUID()));
    expect(missing.code).toBe("permission_denied");
    for (const reference of [
      v2,
      "pets@2",
      other,
      "plants",
      "nothing",
      "eve/pets",
      `pets@blake3:${"0".repeat(64)}`,
    ])
      expect(await refusal(stream(token, reference))).toEqual(missing);
  });

  test("does what its scopes say, and never manages", async () => {
    const [reading, streaming] = [await issue(v1, ["read"]), await issue(v1, ["stream"])];
    await authorize(deps, holder(reading.token), v1, "read");
    await authorize(deps, holder(reading.token), v1, "describe");
    await authorize(deps, holder(streaming.token), v1, "describe");
    await stream(streaming.token, v1);
    for (const answer of [
      () => stream(reading.token, v1),
      () => authorize(deps, holder(streaming.token), v1, "read"),
      () => authorize(deps, holder(streaming.token), v1, "manage"),
    ])
      expect(await refusal(answer())).toMatchObject({ code: "permission_denied" });
  });

  test("that is unknown, altered, expired or revoked is refused in the same words", async () => {
    const { token, id } = await issue(v1);
    await stream(token, v1);
    const refused = { code: "unauthenticated", details: { field: "access_token" } };
    const malformed = await refusal(stream("nonsense", v1));
    expect(malformed).toMatchObject(refused);

    // Signed by the gateway's key, but never issued: only the database knows.
    const now = time.ms / 1000;
    const claims = {
      userId: ada,
      datasetId: v1,
      scopes: ["read", "stream"] as const,
      issuedAt: now,
      expiresAt: now + 60,
    };
    expect(await refusal(stream(await deps.tokens.sign({ id: randomUUID(), ...claims }), v1))).toEqual(
      malformed,
    );
    expect(await refusal(stream(await deps.tokens.sign({ id, ...claims, datasetId: v2 }), v2))).toEqual(
      malformed,
    );
    expect(await refusal(stream(`${token.slice(0, -4)}AAAA`, v1))).toEqual(malformed);
    const elsewhere = await TokenSigner.load(createSigningKeys(), "urn:test");
    expect(await refusal(stream(await elsewhere.sign({ id, ...claims }), v1))).toEqual(malformed);

    time.ms += 3_600_000;
    expect(await refusal(stream(token, v1))).toEqual(malformed);
    time.ms -= 3_600_000;
    await stream(token, v1);

    await withdrawToken(deps, ada, id);
    expect(await refusal(stream(token, v1))).toEqual(malformed);
    expect(await refusal(stream(token, randomUUID()))).toEqual(malformed);
    expect(await tokenStatus(deps, token)).toEqual({ valid: false });
    await withdrawToken(deps, ada, id);
  });

  test("is kept as a hash alone", async () => {
    const { token, id } = await issue(v1);
    const [row] = await sql.query({
      text: "select t::text as row from data_access_tokens t where id = $1",
      values: [id],
    });
    expect(row?.row).not.toContain(token.slice(-40));
    expect(row?.row).not.toContain(token.slice(0, 40));
  });

  test("ends with its dataset", async () => {
    const id = await create("short-lived");
    const { token } = await issue(id);
    await stream(token, id);
    await deleteDataset(sql, id);
    expect(await refusal(stream(token, id))).toMatchObject({ code: "unauthenticated" });
    expect(await tokenStatus(deps, token)).toEqual({ valid: false });
  });

  test("tells its state to who holds it", async () => {
    const { token } = await issue(v1, ["stream"]);
    const expiresAt = new Date(time.ms + 3_600_000);
    expect(await tokenStatus(deps, token)).toEqual({
      valid: true,
      datasetId: v1,
      scopes: ["stream"],
      expiresAt,
    });
  });
});

describe("a share", () => {
  const share = (
    permissions: readonly ("read" | "stream" | "reshare")[],
    expiresAt: Date | null = null,
  ): Promise<ShareRow | undefined> =>
    putShare(sql, { datasetId: v1, grantedBy: ada, userId: eve, permissions, expiresAt });

  test("gives what it says, of that version, and takes it back", async () => {
    await share(["read", "stream"]);
    expect((await authorize(deps, user(eve), "ada/pets", "stream")).dataset.id).toBe(v1);
    expect((await refusal(authorize(deps, user(eve), v1, "manage"))).code).toBe("permission_denied");
    expect((await refusal(authorize(deps, user(eve), v2, "describe"))).code).toBe("not_found");
    // A bare name is one's own dataset.
    expect((await refusal(authorize(deps, user(eve), "pets", "describe"))).code).toBe("not_found");

    const { token, id } = await issue("ada/pets", ["stream"], eve);
    const open = (): ReturnType<typeof authorizeStream> =>
      authorizeStream(deps, { datasetRef: v1, token, presentation, maxTrustLevel: 4 });
    expect(await open()).toMatchObject({ issuedBy: eve, tokenId: id, trustLevel: 4 });

    const { id: shareId } = (await share(["read"])) ?? { id: "" };
    expect((await refusal(open())).code).toBe("unauthenticated");
    expect((await refusal(issue(v1, ["stream"], eve))).code).toBe("permission_denied");
    expect(await removeShare(sql, shareId, randomUUID())).toBe(false);
    expect(await removeShare(sql, shareId, ada)).toBe(true);
    const closed = await refusal(open());
    expect(closed.code).toBe("unauthenticated");
    expect(closed).toEqual(
      await refusal(
        authorizeStream(deps, { datasetRef: randomUUID(), token, presentation, maxTrustLevel: 4 }),
      ),
    );
    expect((await refusal(authorize(deps, user(eve), v1, "describe"))).code).toBe("not_found");
  });

  test("ends at its time", async () => {
    const now = new Date((await sql.query({ text: "select now() as now", values: [] }))[0]?.now as Date);
    await share(["read"], new Date(now.getTime() + 3_600_000));
    await authorize(deps, user(eve), v1, "read");
    await share(["read"], new Date(now.getTime() - 1000));
    expect((await refusal(authorize(deps, user(eve), v1, "read"))).code).toBe("not_found");
  });

  test("lets the owner revoke a token that the other issued", async () => {
    await share(["stream"]);
    const { id, token } = await issue(v1, ["stream"], eve);
    await withdrawToken(deps, ada, id);
    expect(await tokenStatus(deps, token)).toEqual({ valid: false });
  });
});

describe("the trust gate", () => {
  test("passes the owner's data at the strictest level, and names both levels where it does not pass", async () => {
    await putShare(sql, {
      datasetId: v1,
      grantedBy: ada,
      userId: eve,
      permissions: ["stream"],
      expiresAt: null,
    });
    const [mine, theirs] = [await issue(v1), await issue(v1, ["stream"], eve)];
    const open = (token: string, maxTrustLevel: number): ReturnType<typeof authorizeStream> =>
      authorizeStream(deps, { datasetRef: v1, token, presentation, maxTrustLevel });
    expect(await open(mine.token, 0)).toMatchObject({ trustLevel: 0 });
    expect(await open(theirs.token, 4)).toMatchObject({ trustLevel: 4 });
    for (const level of [0, 1, 2, 3]) {
      const refused = await refusal(open(theirs.token, level));
      expect(refused).toMatchObject({
        code: "permission_denied",
        details: { trust_level: 4, max_trust_level: level },
      });
      expect(refused.message).toContain("4 (untrusted)");
      expect(refused.message).toContain(`max_trust_level is ${level}`);
    }
    for (const level of [-1, 5, 1.5])
      expect(await refusal(open(mine.token, level))).toMatchObject({
        code: "invalid_argument",
        details: { field: "max_trust_level" },
      });
  });

  test("comes after access: a token for something else learns nothing of a dataset's trust", async () => {
    const { token } = await issue(other);
    const answer = (datasetRef: string): Promise<unknown> =>
      refusal(authorizeStream(deps, { datasetRef, token, presentation, maxTrustLevel: 0 }));
    expect(await answer(v1)).toEqual(await answer(randomUUID()));
  });
});

describe("a caller", () => {
  test("is known by the message's token, else by the header", async () => {
    const apiKey = `cyx_${"k".repeat(43)}`;
    await createApiKey(sql, { userId: ada, name: "test", keyHash: await hashApiKey(apiKey) });
    const from = (headers?: HeadersInit): Request =>
      new Request(presentation.url, { method: "POST", ...(headers && { headers }) });
    const bearer = (credential: string): Request => from({ authorization: `Bearer ${credential}` });
    expect(await callerFrom(sql, bearer(apiKey))).toEqual(user(ada));
    expect(await callerFrom(sql, bearer(apiKey), "token")).toEqual(holder("token"));
    expect(await callerFrom(sql, bearer("eyJ.a.b"))).toEqual({
      kind: "token",
      token: "eyJ.a.b",
      presentation: { ...presentation, scheme: "bearer" },
    });
    for (const request of [from(), bearer(`cyx_${"x".repeat(43)}`), from({ authorization: "Basic x" })])
      expect((await refusal(callerFrom(sql, request))).code).toBe("unauthenticated");
  });
});

/** What evidence gives, straight from the database: each condition true, then false by itself. */
import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createUser } from "../../catalog/users.ts";
import { createDatabase } from "../support/database.ts";

const database = await createDatabase();
const { sql } = database;
afterAll(() => database.close());

const query = async (text: string, ...values: (string | number | Uint8Array | null)[]): Promise<void> => {
  await sql.query({ text, values });
};
const newKey = (): Uint8Array => new Uint8Array(randomBytes(32));

let [owner, reader]: [string, string] = ["", ""];
beforeAll(async () => {
  owner = (await createUser(sql, { name: "ada", role: "owner" })).id;
  reader = (await createUser(sql, { name: "eve", role: "owner" })).id;
});

async function dataset(): Promise<string> {
  const id = randomUUID();
  await query(
    "INSERT INTO datasets (id, owner_id, name, schema) VALUES ($1, $2, $3, '{}')",
    id,
    owner,
    `d-${id}`,
  );
  return id;
}

async function levels(id: string): Promise<readonly unknown[]> {
  const [row] = await sql.query({
    text: `SELECT dataset_trust($1, $2) AS owner, dataset_trust($1, $3) AS reader, dataset_trust($1, NULL) AS anyone,
      dataset_vouched($1, $2) AS vouched`,
    values: [id, owner, reader],
  });
  return [row?.["owner"], row?.["reader"], row?.["anyone"], row?.["vouched"]];
}

const NOTHING = [0, 4, 4, 4];

const attest = (id: string, key: Uint8Array, expires: string | null = null): Promise<void> =>
  query(
    `INSERT INTO dataset_evidence (dataset_id, kind, public_key, envelope, created_at, issued_at, expires_at)
     VALUES ($1, 'attestation', $2, '{}', now() - interval '2 days', now() - interval '2 days', now() + $3::interval)`,
    id,
    key,
    expires,
  );

/** Another version of the list, with one attestor more. */
async function listAttestor(key: Uint8Array, expires = "1 day"): Promise<void> {
  const next = "(SELECT COALESCE(max(version), 0) + 1 FROM attestor_lists)";
  await query(
    `INSERT INTO attestor_lists (version, created_at, expires_at)
     VALUES (${next}, now() - interval '2 days', now() + $1::interval)`,
    expires,
  );
  await query(
    "INSERT INTO attestors (name, public_key, added_in) SELECT 'lab', $1, max(version) FROM attestor_lists",
    key,
  );
}

test("without evidence a dataset is its owner's alone", async () => {
  expect(await levels(await dataset())).toEqual(NOTHING);
  expect(await levels(randomUUID())).toEqual([4, 4, 4, 4]);
});

describe("an attestation", () => {
  test("counts for everybody while its attestor is listed", async () => {
    const [id, key] = [await dataset(), newKey()];
    await attest(id, key);
    expect(await levels(id)).toEqual(NOTHING);
    await listAttestor(key);
    expect(await levels(id)).toEqual([0, 3, 3, 3]);
    await listAttestor(newKey());
    expect(await levels(id)).toEqual([0, 3, 3, 3]);
    await query(
      "UPDATE attestors SET removed_in = (SELECT max(version) FROM attestor_lists) WHERE public_key = $1",
      key,
    );
    expect(await levels(id)).toEqual(NOTHING);
  });

  test("ends with itself and with the list", async () => {
    const [lasting, lapsed, key] = [await dataset(), await dataset(), newKey()];
    await listAttestor(key);
    await attest(lasting, key, "1 hour");
    await attest(lapsed, key, "-1 hour");
    expect(await levels(lasting)).toEqual([0, 3, 3, 3]);
    expect(await levels(lapsed)).toEqual(NOTHING);
    await listAttestor(newKey(), "-1 hour"); // the newest list is in force, and it has expired
    expect(await levels(lasting)).toEqual(NOTHING);
    await listAttestor(newKey());
    expect(await levels(lasting)).toEqual([0, 3, 3, 3]);
  });

  test("by the owner's own key, or by a revoked one, is none", async () => {
    const [id, own, foreign] = [await dataset(), newKey(), newKey()];
    const register = (user: string, key: Uint8Array): Promise<void> =>
      query(
        "INSERT INTO signing_keys (user_id, name, public_key) VALUES ($1, $2, $3)",
        user,
        randomUUID(),
        key,
      );
    await register(owner, own);
    await register(reader, foreign);
    await listAttestor(own);
    await attest(id, own);
    expect(await levels(id)).toEqual(NOTHING);
    await listAttestor(foreign);
    await attest(id, foreign);
    expect(await levels(id)).toEqual([0, 3, 3, 3]);
    await query("UPDATE signing_keys SET revoked_at = now() WHERE public_key = $1", foreign);
    expect(await levels(id)).toEqual(NOTHING);
  });
});

test("the best evidence counts", async () => {
  const [id, attestor, signer] = [await dataset(), newKey(), newKey()];
  await listAttestor(attestor);
  await attest(id, attestor);
  expect(await levels(id)).toEqual([0, 3, 3, 3]);

  const [published] = await sql.query({
    text: `INSERT INTO public_datasets (name, version, official_url, official_hash)
      VALUES ('Levels', '1', 'https://data.example', $1) RETURNING id`,
    values: [newKey()],
  });
  await query(
    "INSERT INTO dataset_evidence (dataset_id, kind, public_dataset_id) VALUES ($1, 'registry', $2)",
    id,
    published?.["id"] as string,
  );
  expect(await levels(id)).toEqual([0, 2, 2, 2]);

  await query("INSERT INTO signing_keys (user_id, name, public_key) VALUES ($1, 'best', $2)", owner, signer);
  await query(
    "INSERT INTO dataset_evidence (dataset_id, kind, public_key, envelope) VALUES ($1, 'signature', $2, '{}')",
    id,
    signer,
  );
  await query("INSERT INTO known_keys (user_id, name, public_key) VALUES ($1, 'ada', $2)", reader, signer);
  expect(await levels(id)).toEqual([0, 1, 2, 2]);
  await query("DELETE FROM public_datasets WHERE id = $1", published?.["id"] as string);
  expect(await levels(id)).toEqual([0, 1, 3, 3]);
});

test("an attestation counts only if it was issued after the last withdrawal", async () => {
  const [id, attestor] = [await dataset(), newKey()];
  await listAttestor(attestor);
  await attest(id, attestor);
  const withdrawn = (ago: string): Promise<void> =>
    query(
      "UPDATE dataset_evidence SET withdrawn_at = issued_at + $2::interval WHERE dataset_id = $1",
      id,
      ago,
    );
  await withdrawn("-1 second");
  expect(await levels(id)).toEqual([0, 3, 3, 3]);
  await withdrawn("0");
  expect(await levels(id)).toEqual(NOTHING);
});

test("the database refuses evidence that is no such thing", async () => {
  const id = await dataset();
  const insert = (columns: string, values: string): Promise<void> =>
    query(`INSERT INTO dataset_evidence (dataset_id, ${columns}) VALUES ($1, ${values})`, id);
  const key = `'\\x${"00".repeat(32)}'`;
  for (const [columns, values] of [
    ["kind", "'signature'"],
    ["kind, public_key", `'signature', ${key}`],
    ["kind, envelope", "'attestation', '{}'"],
    ["kind, public_key, envelope", `'attestation', ${key}, '{}'`],
    ["kind, public_key, envelope", "'signature', '\\x00', '{}'"],
    ["kind", "'registry'"],
    ["kind, public_key, envelope", `'hearsay', ${key}, '{}'`],
    ["kind, public_key, envelope, expires_at", `'signature', ${key}, '{}', now() - interval '1 day'`],
  ] as const)
    await expect(insert(columns, values)).rejects.toMatchObject({ state: "23514" });
  await insert("kind, public_key, envelope", `'signature', ${key}, '{}'`);
  await expect(insert("kind, public_key, envelope", `'signature', ${key}, '{}'`)).rejects.toMatchObject({
    state: "23505",
  });
});

/** Random histories of grants, tokens, keys and revocations on a real database equal the model, step by step. */
import { randomBytes, randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { insertSignature } from "../../catalog/evidence.ts";
import { deleteKnownKey, insertKnownKey } from "../../catalog/known-keys.ts";
import { putShare, removeShare } from "../../catalog/shares.ts";
import { insertSigningKey, revokeSigningKey } from "../../catalog/signing-keys.ts";
import { insertToken, revokeToken } from "../../catalog/tokens.ts";
import { insertTrainingNode, revokeTrainingNode } from "../../catalog/training-nodes.ts";
import type { Sql } from "../../core/ports.ts";
import { connectSql } from "../../scripts/stack/sql.ts";
import { createDatabase } from "../support/database.ts";
import { Model, type Permission } from "./model.ts";

const HISTORIES = 5_000;
const AT_ONCE = 20;
const USERS = 4;
const MINUTE = 60_000;

const database = await createDatabase();
const sql = connectSql(database.url, 8);
afterAll(async () => {
  await sql.close();
  await database.close();
});

const [seed] = await sql.query({
  text: `WITH u AS (INSERT INTO users (name, role) VALUES ('keeper', 'owner') RETURNING id),
    b AS (INSERT INTO buckets (owner_id, name, chunk_bytes, data_shards, parity_shards)
      SELECT id, 'bucket', 4096, 4, 2 FROM u RETURNING id)
    INSERT INTO objects (bucket_id, key, state, size, content_hash)
      SELECT id, 'manifest', 'live', 0, decode(repeat('00', 32), 'hex') FROM b RETURNING id`,
  values: [],
});
const manifestId = seed?.["id"] as string;

const user = fc.nat(USERS - 1);
const nth = fc.nat(3);
const rights = fc.constantFrom<readonly Permission[]>(
  ["read"],
  ["stream"],
  ["read", "stream"],
  ["read", "reshare"],
  ["read", "stream", "reshare"],
  ["stream", "reshare"],
);
const scopes = fc.constantFrom<readonly Permission[]>(["read"], ["stream"], ["read", "stream"]);
/** Never the clock's own minutes, which are tens. */
const lifetime = fc.constantFrom(undefined, undefined, 61, 127, 251);

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("share" as const), user, to: user, rights, lifetime }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("unshare" as const), user, nth }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("token" as const),
      user,
      scopes,
      lifetime,
      onNode: fc.boolean(),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("revoke token" as const), user, nth: fc.nat(1) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("key" as const), user }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("sign" as const), user, nth }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("revoke key" as const), user, nth }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("know" as const), user: fc.option(user), nth }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("forget" as const), user: fc.option(user), nth }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("node" as const), user }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("revoke node" as const), user, nth }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("wait" as const), minutes: fc.constantFrom(20, 50, 130) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** One version with its users, and the ids that its things have in the database. */
class World {
  readonly model = new Model();
  readonly #sql: Sql;
  readonly #began = Date.now();
  readonly #users = Array.from({ length: USERS }, () => randomUUID());
  readonly #dataset = randomUUID();
  readonly #everyShare: string[] = [];
  readonly #tokens: string[] = [];
  readonly #keys: { readonly id: string; readonly publicKey: Uint8Array }[] = [];
  readonly #nodes: string[] = [];

  constructor(sql_: Sql) {
    this.#sql = sql_;
  }

  async create(): Promise<void> {
    await this.#sql.query({
      text: `WITH u AS (INSERT INTO users (id, name, role) SELECT id, 'u-' || id, 'owner' FROM unnest($1::uuid[]) id RETURNING 1)
        INSERT INTO datasets (id, owner_id, name, state, version, schema, schema_hash, content_hash, total_size_bytes,
          file_count, max_item_bytes, manifest_object_id, tree_object_id)
        VALUES ($2, $3, 'set', 'ready', 1, '{}', decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'), 0, 1, 0, $4, $4)`,
      values: [this.#users, this.#dataset, this.#users[0] as string, manifestId],
    });
  }

  /** As the database has it: the clock stands, and what ends moves towards it. */
  #at(minute: number): Date {
    return new Date(this.#began + (minute - this.model.now) * MINUTE);
  }

  #user(index: number): string {
    return this.#users[index] as string;
  }

  /** Takes the step on both sides. @returns what each says of it. */
  async take(step_: Step): Promise<readonly [actual: boolean, expected: boolean]> {
    const { model } = this;
    switch (step_.kind) {
      case "share": {
        const { user: from, to, rights: asked } = step_;
        const until = step_.lifetime === undefined ? undefined : model.now + step_.lifetime;
        const expected = model.source(from, to, asked, until) !== undefined && to !== 0;
        // The owner as grantee is refused before the catalog is asked.
        if (to === 0) return [false, expected];
        const given = await putShare(this.#sql, {
          datasetId: this.#dataset,
          grantedBy: this.#user(from),
          userId: this.#user(to),
          permissions: asked,
          expiresAt: until === undefined ? null : this.#at(until),
        });
        if (given !== undefined && expected) {
          model.share(from, to, asked, until, given.id);
          this.#everyShare.push(given.id);
        }
        return [given !== undefined, expected];
      }
      case "unshare": {
        const id = this.#everyShare[step_.nth] ?? randomUUID();
        return [await removeShare(this.#sql, id, this.#user(step_.user)), model.unshare(step_.user, id)];
      }
      case "token": {
        const { user: by, scopes: asked, onNode } = step_;
        const node = onNode ? model.nodes.findIndex((each) => each.of === by && !each.revoked) : -1;
        const until = model.now + (step_.lifetime ?? 599);
        const id = randomUUID();
        const issued = await insertToken(this.#sql, {
          id,
          datasetId: this.#dataset,
          issuedBy: this.#user(by),
          tokenHash: new Uint8Array(randomBytes(32)),
          scopes: asked as ("read" | "stream")[],
          createdAt: this.#at(model.now),
          expiresAt: this.#at(until),
          ...(node >= 0 && { nodeId: this.#nodes[node] as string }),
        });
        if (issued) this.#tokens.push(id);
        return [issued, model.token(by, asked, node < 0 ? undefined : node, until)];
      }
      case "revoke token": {
        const id = this.#tokens[step_.nth];
        if (id === undefined) return [false, false];
        const revoked = await revokeToken(this.#sql, this.#user(step_.user), id, new Date());
        return [revoked !== undefined, model.revokeToken(step_.user, step_.nth)];
      }
      case "key": {
        const publicKey = new Uint8Array(randomBytes(32));
        const { id } = await insertSigningKey(this.#sql, {
          userId: this.#user(step_.user),
          name: randomUUID(),
          publicKey,
        });
        this.#keys.push({ id, publicKey });
        model.keys.push({ of: step_.user, revoked: false, signed: false, knownTo: new Set() });
        return [true, true];
      }
      case "sign": {
        const publicKey = this.#keys[step_.nth]?.publicKey ?? new Uint8Array(randomBytes(32));
        const envelope = { payloadType: "t", payload: "", signatures: [{ keyid: "", sig: "" }] } as const;
        const row = { datasetId: this.#dataset, userId: this.#user(step_.user), publicKey, envelope };
        const recorded = await insertSignature(this.#sql, row);
        return [recorded !== undefined, model.sign(step_.user, step_.nth)];
      }
      case "revoke key": {
        const key = this.#keys[step_.nth];
        const known = model.keys[step_.nth];
        if (key === undefined || known === undefined) return [false, false];
        const revoked = await revokeSigningKey(this.#sql, this.#user(step_.user), key.id);
        if (known.of === step_.user) known.revoked = true;
        return [revoked, known.of === step_.user];
      }
      case "know":
      case "forget": {
        const key = this.#keys[step_.nth];
        const known = model.keys[step_.nth]?.knownTo;
        if (key === undefined || known === undefined) return [false, false];
        const list = step_.user === null ? null : this.#user(step_.user);
        const has = known.has(step_.user);
        if (step_.kind === "forget") {
          known.delete(step_.user);
          return [await deleteKnownKey(this.#sql, list, key.publicKey), has];
        }
        known.add(step_.user);
        const inserted = insertKnownKey(this.#sql, list, { name: "k", publicKey: key.publicKey });
        return [
          await inserted.then(
            () => true,
            () => false,
          ),
          !has,
        ];
      }
      case "node": {
        const proof = { publicKey: new Uint8Array(randomBytes(32)), certificateSha256: null };
        const { id } = await insertTrainingNode(this.#sql, this.#user(step_.user), randomUUID(), proof);
        this.#nodes.push(id);
        model.nodes.push({ of: step_.user, revoked: false });
        return [true, true];
      }
      case "revoke node": {
        const id = this.#nodes[step_.nth];
        const node = model.nodes[step_.nth];
        if (id === undefined || node === undefined) return [false, false];
        const revoked = await revokeTrainingNode(this.#sql, this.#user(step_.user), id);
        if (node.of === step_.user) node.revoked = true;
        return [revoked, node.of === step_.user];
      }
      case "wait":
        model.now += step_.minutes;
        await this.#sql.query({
          text: `WITH s AS (UPDATE dataset_shares SET expires_at = expires_at - $2::int * interval '1 minute' WHERE dataset_id = $1)
            UPDATE data_access_tokens SET expires_at = expires_at - $2::int * interval '1 minute',
              created_at = created_at - $2::int * interval '1 minute' WHERE dataset_id = $1`,
          values: [this.#dataset, step_.minutes],
        });
        return [true, true];
    }
  }

  async actual(): Promise<unknown> {
    const [row] = await this.#sql.query({
      text: `SELECT
        (SELECT json_agg(ARRAY(SELECT unnest(shared_permissions($1, u)) AS p ORDER BY p) ORDER BY n) FROM unnest($2::uuid[]) WITH ORDINALITY AS x (u, n)) AS permissions,
        (SELECT json_agg(dataset_trust($1, u) ORDER BY n) FROM unnest($2::uuid[]) WITH ORDINALITY AS x (u, n)) AS trust,
        (SELECT COALESCE(json_agg(token_holds(t, $1) ORDER BY n), '[]') FROM unnest($3::uuid[]) WITH ORDINALITY AS x (t, n)) AS tokens`,
      values: [this.#dataset, this.#users, this.#tokens],
    });
    return row;
  }

  expected(): unknown {
    const users = Array.from({ length: USERS }, (_, index) => index);
    return {
      permissions: users.map((each) => this.model.permissions(each)),
      trust: users.map((each) => this.model.trust(each)),
      tokens: this.#tokens.map((_, index) => this.model.holds(index)),
    };
  }
}

async function run(history: readonly Step[]): Promise<void> {
  const world = new World(sql);
  await world.create();
  for (const each of history) {
    const [actual, expected] = await world.take(each);
    expect([each.kind, actual]).toEqual([each.kind, expected]);
  }
  expect(await world.actual()).toEqual(world.expected());
}

test(`${HISTORIES} histories equal the model`, async () => {
  let [histories, open, shut] = [0, 0, 0];
  const several = fc.array(fc.array(step, { minLength: 8, maxLength: 20 }), {
    minLength: AT_ONCE,
    maxLength: AT_ONCE,
  });
  await fc.assert(
    fc.asyncProperty(several, async (each) => {
      await Promise.all(each.map(run));
      histories += each.length;
    }),
    { numRuns: HISTORIES / AT_ONCE, endOnFailure: true },
  );
  const [counts] = await sql.query({
    text: "SELECT count(*) FILTER (WHERE h) AS open, count(*) FILTER (WHERE NOT h) AS shut FROM (SELECT token_holds(id, dataset_id) AS h FROM data_access_tokens) t",
    values: [],
  });
  [open, shut] = [Number(counts?.["open"]), Number(counts?.["shut"])];
  // Neither all nor none: the histories do something. Some 2,650 tokens are open in the end and 520 shut, give or
  // take 25; half of the lesser is far enough from chance.
  expect([histories >= HISTORIES, open > HISTORIES / 20, shut > HISTORIES / 20]).toEqual([true, true, true]);
}, 180_000);

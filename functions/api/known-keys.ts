/** Lists of keys whose signatures are accepted: everyone's own, and the deployment's. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import {
  deleteKnownKey,
  insertKnownKey,
  type KnownKeyList,
  type KnownKeyRow,
  listKnownKeys,
} from "../../catalog/known-keys.ts";
import { fromHex, toHex } from "../../core/bytes.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { KNOWN_KEYS_MAX, LIST_MAX_ENTRIES } from "../../core/limits.ts";
import { parsePublicKey } from "../../core/trust/known-keys.ts";
import { type Api, type ApiEnv, needsAdmin, needsApiKey } from "./app.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { problems } from "./problem.ts";
import { Cursor, jsonAnswer, jsonBody, KeyName, pageLimit, Time } from "./schemas.ts";
import { PublicKey } from "./trust-schemas.ts";

const KnownKey = z.object({ name: KeyName, public_key: PublicKey, created_at: Time }).openapi("KnownKey");
const NewKnownKey = z.strictObject({ name: KeyName, public_key: PublicKey }).openapi("NewKnownKey");
const KnownKeys = z
  .object({ known_keys: z.array(KnownKey), next_cursor: Cursor.nullable() })
  .openapi("KnownKeyList");
const Page = z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) });
const KeyParams = z.object({
  public_key: PublicKey.openapi({ param: { name: "public_key", in: "path" } }),
});

/** The same routes for either list, but for who may change it. */
function routesOf<P extends "/api/known-keys" | "/api/admin/known-keys">(
  path: P,
  whose: string,
  needs: typeof needsApiKey | typeof needsAdmin,
) {
  return {
    list: createRoute({
      method: "get",
      path,
      tags: ["keys"],
      summary: `List the known keys of ${whose}`,
      ...needsApiKey,
      request: { query: Page },
      responses: { 200: jsonAnswer(KnownKeys, "By public key"), ...problems(400, 401) },
    }),
    add: createRoute({
      method: "post",
      path,
      tags: ["keys"],
      summary: `Add a known key to the list of ${whose}`,
      description: `Datasets that it signed are trusted at level 1. At most ${KNOWN_KEYS_MAX} keys.`,
      ...needs,
      request: { body: jsonBody(NewKnownKey) },
      responses: { 201: jsonAnswer(KnownKey, "The key"), ...problems(400, 401, 403, 409, 413, 415) },
    }),
    remove: createRoute({
      method: "delete",
      path: `${path}/{public_key}`,
      tags: ["keys"],
      summary: `Remove a known key from the list of ${whose}`,
      description: "Takes effect at once, on running streams too.",
      ...needs,
      request: { params: KeyParams },
      responses: { 204: { description: "It is removed" }, ...problems(400, 401, 403, 404) },
    }),
  };
}

const OWN = routesOf("/api/known-keys", "yours", needsApiKey);
const DEPLOYMENT = routesOf("/api/admin/known-keys", "the deployment", needsAdmin);

export function registerKnownKeys(api: Api): void {
  api.openapi(OWN.list, async (c) => c.json(await page(c, c.var.user.id, c.req.valid("query")), 200));
  api.openapi(OWN.add, async (c) => c.json(await add(c, c.var.user.id, c.req.valid("json")), 201));
  api.openapi(OWN.remove, async (c) => remove(c, c.var.user.id, c.req.valid("param").public_key));

  api.openapi(DEPLOYMENT.list, async (c) => c.json(await page(c, null, c.req.valid("query")), 200));
  api.openapi(DEPLOYMENT.add, async (c) => c.json(await add(c, null, c.req.valid("json")), 201));
  api.openapi(DEPLOYMENT.remove, async (c) => remove(c, null, c.req.valid("param").public_key));
}

async function page(
  c: Context<ApiEnv>,
  list: KnownKeyList,
  { cursor, limit }: z.infer<typeof Page>,
): Promise<z.infer<typeof KnownKeys>> {
  const after = cursor === undefined ? undefined : placeOf(cursor);
  const rows = await listKnownKeys(c.var.deps.sql, list, { after, limit: limit + 1 });
  const keys = rows.slice(0, limit);
  const last = rows.length > limit ? keys.at(-1) : undefined;
  return {
    known_keys: keys.map(shownKey),
    next_cursor: last === undefined ? null : encodeCursor(toHex(last.publicKey)),
  };
}

async function add(
  c: Context<ApiEnv>,
  list: KnownKeyList,
  { name, public_key }: z.infer<typeof NewKnownKey>,
): Promise<z.infer<typeof KnownKey>> {
  const publicKey = parsePublicKey(public_key, "public_key");
  return shownKey(await insertKnownKey(c.var.deps.sql, list, { name, publicKey }));
}

async function remove(c: Context<ApiEnv>, list: KnownKeyList, publicKey: string): Promise<Response> {
  const key = fromHex(publicKey) ?? new Uint8Array();
  if (!(await deleteKnownKey(c.var.deps.sql, list, key)))
    throw new DataStreamError("not_found", "public_key: the list does not have this key.", {
      details: { field: "public_key" },
    });
  return c.body(null, 204);
}

function shownKey({ name, publicKey, createdAt }: KnownKeyRow): z.infer<typeof KnownKey> {
  return { name, public_key: toHex(publicKey), created_at: createdAt.toISOString() };
}

function placeOf(cursor: string): Uint8Array {
  const key = fromHex(decodeCursor(cursor));
  if (key?.length === 32) return key;
  throw invalidArgument("cursor", "use `next_cursor` of an earlier answer, or leave it out.");
}

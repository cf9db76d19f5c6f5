/** Signing keys: public halves alone, registered with proof of possession. */
import { createRoute, z } from "@hono/zod-openapi";
import { listSigningKeys, revokeSigningKey, type SigningKeyRow } from "../../catalog/signing-keys.ts";
import { toHex } from "../../core/bytes.ts";
import { isUuid } from "../../core/dataset/name.ts";
import { DataStreamError } from "../../core/errors.ts";
import { KEY_PROOF_MAX_AGE_SECONDS, LIST_MAX_ENTRIES, SIGNING_KEYS_MAX } from "../../core/limits.ts";
import { KEY_PROOF_TYPE } from "../../core/trust/key-proof.ts";
import { keyChallenge, registerSigningKey } from "../signatures.ts";
import { type Api, needsApiKey } from "./app.ts";
import { decodePosition, positionCursor } from "./cursor.ts";
import { problems } from "./problem.ts";
import { Cursor, jsonAnswer, jsonBody, KeyName, pageLimit, Time, Uuid } from "./schemas.ts";
import { EnvelopeSchema, PublicKey } from "./trust-schemas.ts";

const SigningKey = z
  .object({ id: Uuid, name: KeyName, public_key: PublicKey, created_at: Time, revoked_at: Time.nullable() })
  .openapi("SigningKey");

const Challenge = z
  .object({
    audience: z.string().openapi({ description: "This gateway", example: "https://data.example.com" }),
    user: Uuid.openapi({ description: "You" }),
    issued_at: z.int().openapi({ description: "Seconds since 1970", example: 1_795_000_000 }),
  })
  .openapi("KeyChallenge");

const challengeRoute = createRoute({
  method: "get",
  path: "/api/keys/challenge",
  tags: ["keys"],
  summary: "What to sign to prove that you hold a private key",
  description: `Good for ${KEY_PROOF_MAX_AGE_SECONDS} seconds. docs/formats/signatures-v1.md`,
  ...needsApiKey,
  responses: { 200: jsonAnswer(Challenge, "A challenge"), ...problems(401) },
});

const registerRoute = createRoute({
  method: "post",
  path: "/api/keys",
  tags: ["keys"],
  summary: "Register a signing key",
  description:
    `The proof is a DSSE envelope of type ${KEY_PROOF_TYPE} over the challenge, the purpose \`signing-key\` and the ` +
    `public key. A public key is registered once. At most ${SIGNING_KEYS_MAX} that are not revoked.`,
  ...needsApiKey,
  request: {
    body: jsonBody(
      z.strictObject({ name: KeyName, public_key: PublicKey, proof: EnvelopeSchema }).openapi("RegisterKey"),
    ),
  },
  responses: { 201: jsonAnswer(SigningKey, "The key"), ...problems(400, 401, 409, 413, 415) },
});

const listRoute = createRoute({
  method: "get",
  path: "/api/keys",
  tags: ["keys"],
  summary: "List your signing keys",
  description: "Oldest first, revoked ones included.",
  ...needsApiKey,
  request: { query: z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) }) },
  responses: {
    200: jsonAnswer(
      z.object({ keys: z.array(SigningKey), next_cursor: Cursor.nullable() }).openapi("SigningKeyList"),
      "One page",
    ),
    ...problems(400, 401),
  },
});

const revokeRoute = createRoute({
  method: "delete",
  path: "/api/keys/{key}",
  tags: ["keys"],
  summary: "Revoke a signing key",
  description:
    "For good, and at once: its signatures count no more, and streams that needed one of them end.",
  ...needsApiKey,
  request: {
    params: z.object({
      key: z.string().openapi({ param: { name: "key", in: "path", description: "The key's id" } }),
    }),
  },
  responses: { 204: { description: "It is revoked" }, ...problems(401, 404) },
});

export function registerKeys(api: Api): void {
  api.openapi(challengeRoute, (c) =>
    c.json(keyChallenge(c.var.deps, c.var.user.id), 200, { "cache-control": "no-store" }),
  );

  api.openapi(registerRoute, async (c) => {
    const { name, public_key: publicKey, proof } = c.req.valid("json");
    const key = await registerSigningKey(c.var.deps, c.var.user.id, { name, publicKey, proof });
    return c.json(shownKey(key), 201);
  });

  api.openapi(listRoute, async (c) => {
    const { cursor, limit } = c.req.valid("query");
    const after = decodePosition(cursor);
    const rows = await listSigningKeys(c.var.deps.sql, c.var.user.id, { after, limit: limit + 1 });
    const keys = rows.slice(0, limit);
    const last = rows.length > limit ? keys.at(-1) : undefined;
    return c.json(
      { keys: keys.map(shownKey), next_cursor: last === undefined ? null : positionCursor(last) },
      200,
    );
  });

  api.openapi(revokeRoute, async (c) => {
    const { key } = c.req.valid("param");
    if (!isUuid(key) || !(await revokeSigningKey(c.var.deps.sql, c.var.user.id, key)))
      throw new DataStreamError("not_found", "key: you have no such signing key.", {
        details: { field: "key" },
      });
    return c.body(null, 204);
  });
}

function shownKey({ id, name, publicKey, createdAt, revokedAt }: SigningKeyRow): z.infer<typeof SigningKey> {
  return {
    id,
    name,
    public_key: toHex(publicKey),
    created_at: createdAt.toISOString(),
    revoked_at: revokedAt?.toISOString() ?? null,
  };
}

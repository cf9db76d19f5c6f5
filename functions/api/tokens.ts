import { createRoute, z } from "@hono/zod-openapi";
import { SCOPES } from "../../core/access/scopes.ts";
import {
  LIST_MAX_ENTRIES,
  NODE_NAME_MAX_CHARS,
  TOKEN_TTL_DEFAULT_SECONDS,
  TOKEN_TTL_MAX_SECONDS,
  TOKEN_TTL_MIN_SECONDS,
} from "../../core/limits.ts";
import { issueToken, tokenStatus, withdrawToken } from "../access-tokens.ts";
import { listTokens } from "../../catalog/tokens.ts";
import { authorize } from "../access.ts";
import { depsFrom } from "../deps.ts";
import { type Api, needsApiKey } from "./app.ts";
import { decodePosition, positionCursor } from "./cursor.ts";
import { DatasetName, DatasetParams } from "./dataset-schemas.ts";
import { problems } from "./problem.ts";
import { Cursor, jsonAnswer, jsonBody, pageLimit, Time, Uuid } from "./schemas.ts";

const NodeName = z
  .string()
  .openapi({ description: "The training node that it is bound to", example: "node-1" });
const ScopeList = z.array(z.enum(SCOPES)).openapi({ example: ["read", "stream"] });

const IssuedToken = z
  .object({
    id: Uuid,
    token: z.string().openapi({ description: "Shown once", example: "eyJhbGciOiJFZDI1NTE5Ii…" }),
    dataset_id: Uuid.openapi({ description: "The one version that it opens" }),
    dataset: DatasetName,
    scopes: ScopeList,
    expires_at: Time,
    node: NodeName.nullable(),
  })
  .openapi("IssuedToken");

const ListedToken = z
  .object({
    id: Uuid,
    dataset_id: Uuid,
    dataset: z.string().openapi({ example: "ada/my-dataset@1" }),
    issued_by: z.string().openapi({ example: "ada" }),
    node: NodeName.nullable(),
    scopes: ScopeList,
    created_at: Time,
    expires_at: Time,
    revoked_at: Time.nullable(),
  })
  .openapi("AccessToken");

const TokenStatus = z
  .object({
    valid: z.boolean(),
    dataset_id: Uuid.optional(),
    scopes: ScopeList.optional(),
    expires_at: Time.optional(),
  })
  .openapi("TokenStatus");

const issueRoute = createRoute({
  method: "post",
  path: "/api/datasets/{ref}/tokens",
  tags: ["tokens"],
  summary: "Create an access token for a dataset version",
  description:
    "The token opens the version that the reference names now, and no later one. " +
    `It lives ${TOKEN_TTL_DEFAULT_SECONDS} seconds unless told otherwise.`,
  ...needsApiKey,
  request: {
    params: DatasetParams,
    body: jsonBody(
      z
        .strictObject({
          // Limits are checked by the one function that the datastream service uses too.
          scopes: z.array(z.string()).openapi({ example: ["read", "stream"] }),
          ttl_seconds: z
            .number()
            .optional()
            .openapi({
              type: "integer",
              description: `${TOKEN_TTL_MIN_SECONDS} to ${TOKEN_TTL_MAX_SECONDS}; 0 means the default`,
            }),
          node: z.string().max(NODE_NAME_MAX_CHARS).optional().openapi({
            description: "Name or id of a training node of yours: the token works with its proof alone",
          }),
        })
        .openapi("CreateAccessToken"),
    ),
  },
  responses: { 201: jsonAnswer(IssuedToken, "The token"), ...problems(400, 401, 403, 404, 409, 413, 415) },
});

const listRoute = createRoute({
  method: "get",
  path: "/api/tokens",
  tags: ["tokens"],
  summary: "List access tokens that you may revoke, newest first",
  description: "Those that you issued, and those for your datasets. The tokens themselves are not kept.",
  ...needsApiKey,
  request: {
    query: z.strictObject({
      dataset: z.string().max(512).optional().openapi({ description: "Only those of this dataset version" }),
      cursor: Cursor.optional(),
      limit: pageLimit(LIST_MAX_ENTRIES),
    }),
  },
  responses: {
    200: jsonAnswer(
      z.object({ tokens: z.array(ListedToken), next_cursor: Cursor.nullable() }).openapi("AccessTokenList"),
      "One page",
    ),
    ...problems(400, 401, 403, 404),
  },
});

const revokeRoute = createRoute({
  method: "delete",
  path: "/api/tokens/{token}",
  tags: ["tokens"],
  summary: "Revoke an access token",
  description: "One that you issued, or one for a dataset of yours. For good; streams under it end.",
  ...needsApiKey,
  request: {
    params: z.object({
      token: z.string().openapi({ param: { name: "token", in: "path", description: "The token's id" } }),
    }),
  },
  responses: { 204: { description: "It is revoked" }, ...problems(401, 404) },
});

const verifyRoute = createRoute({
  method: "post",
  path: "/api/tokens/verify",
  tags: ["tokens"],
  summary: "Ask whether a token is valid now",
  description: "For whoever holds it; nothing else is needed.",
  request: { body: jsonBody(z.strictObject({ token: z.string().max(8192) }).openapi("VerifyToken")) },
  responses: { 200: jsonAnswer(TokenStatus, "Its state"), ...problems(400, 413, 415) },
});

const jwksRoute = createRoute({
  method: "get",
  path: "/.well-known/jwks.json",
  tags: ["tokens"],
  summary: "Public keys that access tokens are signed with",
  responses: {
    200: jsonAnswer(
      z.object({ keys: z.array(z.record(z.string(), z.unknown())) }).openapi("JsonWebKeySet"),
      "RFC 7517",
    ),
    ...problems(),
  },
});

export function registerTokens(api: Api): void {
  api.openapi(issueRoute, async (c) => {
    const { deps, user } = c.var;
    const { scopes, ttl_seconds, node } = c.req.valid("json");
    const request = { scopes, ttlSeconds: ttl_seconds, node };
    const issued = await issueToken(deps, user.id, c.req.valid("param").ref, request);
    return c.json(
      {
        id: issued.id,
        token: issued.token,
        dataset_id: issued.dataset.id,
        dataset: issued.dataset.name,
        scopes: [...issued.scopes],
        expires_at: issued.expiresAt.toISOString(),
        node: issued.node?.name ?? null,
      },
      201,
      { "cache-control": "no-store" },
    );
  });

  api.openapi(listRoute, async (c) => {
    const { deps, user } = c.var;
    const { dataset: reference, cursor, limit } = c.req.valid("query");
    const after = decodePosition(cursor);
    const caller = { kind: "user", userId: user.id } as const;
    const datasetId =
      reference === undefined ? undefined : (await authorize(deps, caller, reference, "describe")).dataset.id;
    const rows = await listTokens(deps.sql, user.id, { datasetId, after, limit: limit + 1 });
    const page = rows.slice(0, limit);
    const last = rows.length > limit ? page.at(-1) : undefined;
    const tokens = page.map((row) => ({
      id: row.id,
      dataset_id: row.datasetId,
      dataset: row.dataset,
      issued_by: row.issuedBy,
      node: row.node,
      scopes: [...row.scopes],
      created_at: row.createdAt.toISOString(),
      expires_at: row.expiresAt.toISOString(),
      revoked_at: row.revokedAt?.toISOString() ?? null,
    }));
    return c.json({ tokens, next_cursor: last ? positionCursor(last) : null }, 200);
  });

  api.openapi(revokeRoute, async (c) => {
    await withdrawToken(c.var.deps, c.var.user.id, c.req.valid("param").token);
    return c.body(null, 204);
  });

  api.openapi(verifyRoute, async (c) => {
    const status = await tokenStatus(c.var.deps, c.req.valid("json").token);
    if (!status.valid) return c.json({ valid: false }, 200);
    const { datasetId, scopes, expiresAt } = status;
    return c.json(
      { valid: true, dataset_id: datasetId, scopes: [...scopes], expires_at: expiresAt.toISOString() },
      200,
    );
  });

  api.openapi(jwksRoute, async (c) => {
    const { tokens } = await depsFrom(c.env);
    const keys = tokens.jwks.keys.map((key) => ({ ...key }));
    // Verifiers may keep it this long, so a new key is published at least as long before it signs.
    return c.json({ keys }, 200, { "cache-control": "public, max-age=300" });
  });
}

import { createRoute, z } from "@hono/zod-openapi";
import { listShares, type ShareRow } from "../../catalog/shares.ts";
import { SHARE_PERMISSIONS } from "../../core/access/share-request.ts";
import { LIST_MAX_ENTRIES } from "../../core/limits.ts";
import { authorize } from "../access.ts";
import { shareDataset, unshareDataset } from "../sharing.ts";
import { type Api, needsApiKey } from "./app.ts";
import { decodePosition, positionCursor } from "./cursor.ts";
import { DatasetParams } from "./dataset-schemas.ts";
import { problems } from "./problem.ts";
import { Cursor, jsonAnswer, jsonBody, pageLimit, Time, Uuid } from "./schemas.ts";

const UserReference = z.string().min(1).max(320).openapi({ example: "grace" });

const Share = z
  .object({
    id: Uuid,
    dataset_id: Uuid.openapi({ description: "The one version that is shared" }),
    user: UserReference.openapi({ description: "With whom: a name, or the e-mail address that was given" }),
    user_id: Uuid.nullable().openapi({
      description: "null of an e-mail address, to all but who holds the share",
    }),
    granted_by: UserReference,
    permissions: z.array(z.enum(SHARE_PERMISSIONS)).openapi({ example: ["read", "stream"] }),
    created_at: Time,
    expires_at: Time.nullable().openapi({ description: "null: until it is withdrawn" }),
  })
  .openapi("Share");

const shareRoute = createRoute({
  method: "post",
  path: "/api/datasets/{ref}/shares",
  tags: ["shares"],
  summary: "Share a dataset version with another user",
  description:
    "In place of what you gave this user before: where that takes something away, tokens and shares made through the " +
    "old share end. Who has it from someone else needs `reshare`, and can pass on what one share carries, no longer " +
    "than it lasts. A share with an e-mail address is held by the first user who verified that address, and opens nothing " +
    "until there is one; the answers are the same either way.",
  ...needsApiKey,
  request: {
    params: DatasetParams,
    body: jsonBody(
      z
        .strictObject({
          user: UserReference.openapi({ description: "Name, id or e-mail address" }),
          permissions: z
            .array(z.string())
            .openapi({ example: ["read", "stream"], description: SHARE_PERMISSIONS.join(", ") }),
          expires_at: z.iso.datetime({ offset: true }).optional().openapi({
            description: "Left out: as long as your own access",
            example: "2026-12-01T00:00:00Z",
          }),
        })
        .openapi("CreateShare"),
    ),
  },
  responses: { 201: jsonAnswer(Share, "The share"), ...problems(400, 401, 403, 404, 413, 415) },
});

const listRoute = createRoute({
  method: "get",
  path: "/api/datasets/{ref}/shares",
  tags: ["shares"],
  summary: "List the shares of a dataset version",
  description: "Those that you hold, gave, or that were passed on from one of these; the owner sees all.",
  ...needsApiKey,
  request: {
    params: DatasetParams,
    query: z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) }),
  },
  responses: {
    200: jsonAnswer(
      z.object({ shares: z.array(Share), next_cursor: Cursor.nullable() }).openapi("ShareList"),
      "One page, oldest first",
    ),
    ...problems(400, 401, 403, 404),
  },
});

const unshareRoute = createRoute({
  method: "delete",
  path: "/api/shares/{share}",
  tags: ["shares"],
  summary: "Take a share back, or give one up",
  description:
    "With it end the tokens that were made through it, streams under them, and the shares that were passed on from it.",
  ...needsApiKey,
  request: {
    params: z.object({
      share: z.string().openapi({ param: { name: "share", in: "path", description: "The share's id" } }),
    }),
  },
  responses: { 204: { description: "It is gone" }, ...problems(401, 404) },
});

export function registerShares(api: Api): void {
  api.openapi(shareRoute, async (c) => {
    const { deps, user } = c.var;
    const { user: withWhom, permissions, expires_at } = c.req.valid("json");
    const expiresAtMs = expires_at === undefined ? undefined : Date.parse(expires_at);
    const request = { permissions, expiresAtMs };
    const { share } = await shareDataset(deps, user.id, c.req.valid("param").ref, withWhom, request);
    return c.json(shown(share), 201);
  });

  api.openapi(listRoute, async (c) => {
    const { deps, user } = c.var;
    const { cursor, limit } = c.req.valid("query");
    const after = decodePosition(cursor);
    const caller = { kind: "user", userId: user.id } as const;
    const { dataset } = await authorize(deps, caller, c.req.valid("param").ref, "describe");
    const rows = await listShares(deps.sql, dataset.id, user.id, { after, limit: limit + 1 });
    const shares = rows.slice(0, limit);
    const last = rows.length > limit ? shares.at(-1) : undefined;
    return c.json({ shares: shares.map(shown), next_cursor: last ? positionCursor(last) : null }, 200);
  });

  api.openapi(unshareRoute, async (c) => {
    await unshareDataset(c.var.deps, c.var.user.id, c.req.valid("param").share);
    return c.body(null, 204);
  });
}

function shown(share: ShareRow): z.infer<typeof Share> {
  return {
    id: share.id,
    dataset_id: share.datasetId,
    user: share.user,
    user_id: share.userId,
    granted_by: share.grantedBy,
    permissions: [...share.permissions],
    created_at: share.createdAt.toISOString(),
    expires_at: share.expiresAt?.toISOString() ?? null,
  };
}

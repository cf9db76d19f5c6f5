import { createRoute, z } from "@hono/zod-openapi";
import { base64url } from "jose";
import { listTrainingNodes, type TrainingNode } from "../../catalog/training-nodes.ts";
import { toHex } from "../../core/bytes.ts";
import { LIST_MAX_ENTRIES, NODE_NAME_MAX_CHARS } from "../../core/limits.ts";
import { registerNode, withdrawNode } from "../training-nodes.ts";
import { presentationOf } from "../presentation.ts";
import { type Api, needsApiKey } from "./app.ts";
import { decodePosition, positionCursor } from "./cursor.ts";
import { problems } from "./problem.ts";
import { Cursor, Digest, jsonAnswer, jsonBody, pageLimit, Time, Uuid } from "./schemas.ts";

const NodeName = z
  .string()
  .max(NODE_NAME_MAX_CHARS)
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
    "must be of A-Z, a-z, 0-9, '.', '_', '-', beginning with a letter or digit.",
  )
  .openapi({ example: "node-1" });

const Node = z
  .object({
    id: Uuid,
    name: NodeName,
    public_key: z.string().nullable().openapi({
      description: "Ed25519, in base64url; null where the node has a certificate",
      example: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }),
    certificate_sha256: Digest.nullable(),
    created_at: Time,
    revoked_at: Time.nullable(),
  })
  .openapi("TrainingNode");

const registerRoute = createRoute({
  method: "post",
  path: "/api/training-nodes",
  tags: ["training nodes"],
  summary: "Register a training node",
  description:
    "With a DPoP proof (RFC 9449, Ed25519) of the node's key over this request, whose `ath` is the SHA-256 of your API " +
    "key; or over a connection with a client certificate. Tokens that name the node then work with its proof alone.",
  ...needsApiKey,
  request: { body: jsonBody(z.strictObject({ name: NodeName }).openapi("RegisterTrainingNode")) },
  responses: { 201: jsonAnswer(Node, "The node"), ...problems(400, 401, 409, 413, 415) },
});

const listRoute = createRoute({
  method: "get",
  path: "/api/training-nodes",
  tags: ["training nodes"],
  summary: "List your training nodes, newest first",
  ...needsApiKey,
  request: { query: z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) }) },
  responses: {
    200: jsonAnswer(
      z.object({ nodes: z.array(Node), next_cursor: Cursor.nullable() }).openapi("TrainingNodeList"),
      "One page",
    ),
    ...problems(400, 401),
  },
});

const revokeRoute = createRoute({
  method: "delete",
  path: "/api/training-nodes/{node}",
  tags: ["training nodes"],
  summary: "Revoke a training node",
  description: "For good: tokens that are bound to it and streams under them end. Its name is free again.",
  ...needsApiKey,
  request: {
    params: z.object({
      node: z.string().openapi({ param: { name: "node", in: "path", description: "The node's id" } }),
    }),
  },
  responses: { 204: { description: "It is revoked" }, ...problems(401, 404) },
});

export function registerTrainingNodes(api: Api): void {
  api.openapi(registerRoute, async (c) => {
    const { deps, user, credential } = c.var;
    const presentation = presentationOf(c.req.raw, false);
    const { name } = c.req.valid("json");
    return c.json(shown(await registerNode(deps, { id: user.id, credential }, name, presentation)), 201);
  });

  api.openapi(listRoute, async (c) => {
    const { cursor, limit } = c.req.valid("query");
    const after = decodePosition(cursor);
    const rows = await listTrainingNodes(c.var.deps.sql, c.var.user.id, { after, limit: limit + 1 });
    const nodes = rows.slice(0, limit);
    const last = rows.length > limit ? nodes.at(-1) : undefined;
    return c.json({ nodes: nodes.map(shown), next_cursor: last ? positionCursor(last) : null }, 200);
  });

  api.openapi(revokeRoute, async (c) => {
    await withdrawNode(c.var.deps, c.var.user.id, c.req.valid("param").node);
    return c.body(null, 204);
  });
}

function shown(node: TrainingNode): z.infer<typeof Node> {
  return {
    id: node.id,
    name: node.name,
    public_key: node.publicKey && base64url.encode(node.publicKey),
    certificate_sha256: node.certificateSha256 && toHex(node.certificateSha256),
    created_at: node.createdAt.toISOString(),
    revoked_at: node.revokedAt?.toISOString() ?? null,
  };
}

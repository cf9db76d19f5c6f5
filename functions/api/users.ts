/** Users and their API keys: administrators create users, everyone manages their own keys. */
import { createRoute, z } from "@hono/zod-openapi";
import {
  type ApiKeyRow,
  createApiKey,
  createUser,
  findUserByName,
  findUserRow,
  listApiKeys,
  listUsers,
  revokeApiKey,
  type User,
  type UserRow,
} from "../../catalog/users.ts";
import { isUuid } from "../../core/dataset/name.ts";
import { DataStreamError } from "../../core/errors.ts";
import { API_KEYS_MAX_PER_USER, LIST_MAX_ENTRIES } from "../../core/limits.ts";
import type { Sql } from "../../core/ports.ts";
import { hashApiKey, newApiKey } from "../auth.ts";
import { type Api, needsAdmin, needsApiKey } from "./app.ts";
import { decodeCursor, decodePosition, encodeCursor, positionCursor } from "./cursor.ts";
import { problems } from "./problem.ts";
import { Cursor, jsonAnswer, jsonBody, KeyName, pageLimit, Time, Uuid } from "./schemas.ts";

const RoleSchema = z
  .enum(["owner", "admin"])
  .openapi({ description: "An owner manages what they own; an administrator also users and storage" });
export const UserName: z.ZodString = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, "must be 1 to 64 of a-z, 0-9, '.', '_', '-'.")
  .openapi({ example: "ada" });

const UserSchema = z
  .object({
    id: Uuid,
    name: UserName,
    role: RoleSchema,
    email: z
      .string()
      .nullable()
      .openapi({ description: "null: never signed in at a page", example: "ada@example.com" }),
    email_verified: z.boolean().openapi({ description: "Whether shares with this address reach them" }),
    created_at: Time,
  })
  .openapi("User");
const ApiKeySchema = z
  .object({ id: Uuid, name: KeyName, created_at: Time, revoked_at: Time.nullable() })
  .openapi("ApiKey");
const NewKey = z
  .object({
    id: Uuid,
    name: KeyName,
    key: z.string().openapi({ description: "Shown once; only its hash is stored", example: "cyx_…" }),
  })
  .openapi("NewApiKey");

const UserParams = z.object({
  user: UserName.openapi({
    param: { name: "user", in: "path", description: "`me`, or for administrators anyone's name" },
    example: "me",
  }),
});
const KeyParams = UserParams.extend({
  key: z.string().openapi({ param: { name: "key", in: "path", description: "The key's id" } }),
});
const Page = z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) });

const meRoute = createRoute({
  method: "get",
  path: "/api/users/me",
  tags: ["users"],
  summary: "Who you are",
  ...needsApiKey,
  responses: { 200: jsonAnswer(UserSchema, "The user whose credential was sent"), ...problems(401) },
});

const createUserRoute = createRoute({
  method: "post",
  path: "/api/users",
  tags: ["users"],
  summary: "Create a user, with a first API key",
  description: "For administrators. Hand the key over: it is shown this once.",
  ...needsAdmin,
  request: {
    body: jsonBody(
      z
        .strictObject({ name: UserName, role: RoleSchema.default("owner") })
        .openapi("CreateUser", { example: { name: "ada", role: "owner" } }),
    ),
  },
  responses: {
    201: jsonAnswer(UserSchema.extend({ api_key: NewKey }).openapi("NewUser"), "The user"),
    ...problems(400, 401, 403, 409, 413, 415),
  },
});

const listUsersRoute = createRoute({
  method: "get",
  path: "/api/users",
  tags: ["users"],
  summary: "List the users",
  description: "For administrators.",
  ...needsAdmin,
  request: { query: Page },
  responses: {
    200: jsonAnswer(
      z.object({ users: z.array(UserSchema), next_cursor: Cursor.nullable() }).openapi("UserList"),
      "By name",
    ),
    ...problems(400, 401, 403),
  },
});

const createKeyRoute = createRoute({
  method: "post",
  path: "/api/users/{user}/api-keys",
  tags: ["users"],
  summary: "Create an API key",
  description: `At most ${API_KEYS_MAX_PER_USER} that are not revoked.`,
  ...needsApiKey,
  request: {
    params: UserParams,
    body: jsonBody(z.strictObject({ name: KeyName }).openapi("CreateApiKey")),
  },
  responses: { 201: jsonAnswer(NewKey, "The key"), ...problems(400, 401, 403, 404, 409, 413, 415) },
});

const listKeysRoute = createRoute({
  method: "get",
  path: "/api/users/{user}/api-keys",
  tags: ["users"],
  summary: "List API keys, newest first",
  description: "Never the keys themselves.",
  ...needsApiKey,
  request: { params: UserParams, query: Page },
  responses: {
    200: jsonAnswer(
      z.object({ api_keys: z.array(ApiKeySchema), next_cursor: Cursor.nullable() }).openapi("ApiKeyList"),
      "One page",
    ),
    ...problems(400, 401, 403, 404),
  },
});

const revokeKeyRoute = createRoute({
  method: "delete",
  path: "/api/users/{user}/api-keys/{key}",
  tags: ["users"],
  summary: "Revoke an API key",
  description: "For good, from the next request on. Access tokens that were created with it stay.",
  ...needsApiKey,
  request: { params: KeyParams },
  responses: { 204: { description: "It is revoked" }, ...problems(400, 401, 403, 404) },
});

export function registerUsers(api: Api): void {
  api.openapi(meRoute, async (c) => {
    const user = await findUserRow(c.var.deps.sql, c.var.user.id);
    if (user === undefined) throw noSuchUser();
    return c.json(shownUser(user), 200);
  });

  api.openapi(createUserRoute, async (c) => {
    const { sql } = c.var.deps;
    const { id } = await createUser(sql, c.req.valid("json"));
    const user = await findUserRow(sql, id);
    if (user === undefined) throw noSuchUser();
    const api_key = await issueKey(sql, id, "first");
    return c.json({ ...shownUser(user), api_key }, 201, { "cache-control": "no-store" });
  });

  api.openapi(listUsersRoute, async (c) => {
    const { cursor, limit } = c.req.valid("query");
    const after = cursor === undefined ? undefined : decodeCursor(cursor);
    const rows = await listUsers(c.var.deps.sql, { after, limit: limit + 1 });
    const users = rows.slice(0, limit);
    const last = rows.length > limit ? users.at(-1) : undefined;
    const next_cursor = last === undefined ? null : encodeCursor(last.name);
    return c.json({ users: users.map(shownUser), next_cursor }, 200);
  });

  api.openapi(createKeyRoute, async (c) => {
    const { sql } = c.var.deps;
    const userId = await userMeant(sql, c.var.user, c.req.valid("param").user);
    const created = await issueKey(sql, userId, c.req.valid("json").name);
    return c.json(created, 201, { "cache-control": "no-store" });
  });

  api.openapi(listKeysRoute, async (c) => {
    const { sql } = c.var.deps;
    const userId = await userMeant(sql, c.var.user, c.req.valid("param").user);
    const { cursor, limit } = c.req.valid("query");
    const after = decodePosition(cursor);
    const rows = await listApiKeys(sql, userId, { after, limit: limit + 1 });
    const keys = rows.slice(0, limit);
    const last = rows.length > limit ? keys.at(-1) : undefined;
    const next_cursor = last === undefined ? null : positionCursor(last);
    return c.json({ api_keys: keys.map(shownKey), next_cursor }, 200);
  });

  api.openapi(revokeKeyRoute, async (c) => {
    const { sql } = c.var.deps;
    const { user, key } = c.req.valid("param");
    const userId = await userMeant(sql, c.var.user, user);
    if (!isUuid(key) || !(await revokeApiKey(sql, userId, key)))
      throw new DataStreamError("not_found", "key: there is no such API key.");
    return c.body(null, 204);
  });
}

/** Says nothing about other users to anyone but administrators. */
async function userMeant(sql: Sql, caller: User, name: string): Promise<string> {
  if (name === "me" || name === caller.name) return caller.id;
  if (caller.role !== "admin") {
    throw new DataStreamError("permission_denied", "user: you manage your own API keys; say `me`.", {
      details: { field: "user" },
    });
  }
  const user = await findUserByName(sql, name);
  if (user === undefined) throw noSuchUser();
  return user.id;
}

async function issueKey(sql: Sql, userId: string, name: string): Promise<z.infer<typeof NewKey>> {
  const key = newApiKey();
  const { id } = await createApiKey(sql, { userId, name, keyHash: await hashApiKey(key) });
  return { id, name, key };
}

export function noSuchUser(): DataStreamError {
  return new DataStreamError("not_found", "user: there is no such user.", { details: { field: "user" } });
}

function shownUser(user: UserRow): z.infer<typeof UserSchema> {
  return {
    id: user.id,
    name: user.name,
    role: user.role,
    email: user.email,
    email_verified: user.emailVerified,
    created_at: user.createdAt.toISOString(),
  };
}

function shownKey(key: ApiKeyRow): z.infer<typeof ApiKeySchema> {
  return {
    id: key.id,
    name: key.name,
    created_at: key.createdAt.toISOString(),
    revoked_at: key.revokedAt?.toISOString() ?? null,
  };
}

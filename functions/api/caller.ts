/** Who asks on routes that users and holders of access tokens share. */
import type { Context } from "hono";
import { type Caller, callerFrom } from "../access.ts";
import { requestUser } from "../auth.ts";
import { sessionCookie } from "../sign-in/sessions.ts";
import type { ApiEnv } from "./app.ts";

/** A credential in a header counts before the session of a page, which the browser sends by itself. */
export async function requestCaller(c: Context<ApiEnv>): Promise<Caller> {
  const { headers } = c.req.raw;
  if (headers.has("authorization") || sessionCookie(headers) === undefined)
    return callerFrom(c.var.deps.sql, c.req.raw);
  return { kind: "user", userId: (await requestUser(c)).id };
}

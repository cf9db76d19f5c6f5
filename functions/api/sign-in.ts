/** Signing in from a page: an e-mail address and a password for a session in a cookie. Programs use API keys. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { putPassword } from "../../catalog/sign-in.ts";
import { PASSWORD_MAX_CHARS, PASSWORD_MIN_CHARS } from "../../core/limits.ts";
import { refuseForeignPages } from "../auth.ts";
import { hashPassword } from "../sign-in/password.ts";
import { sessionCookie, signIn, type SignedIn, signOut, signUp } from "../sign-in/sessions.ts";
import { type Api, type ApiEnv, needsApiKey } from "./app.ts";
import { problems } from "./problem.ts";
import { Email, jsonBody } from "./schemas.ts";

const Password = z
  .string()
  .min(PASSWORD_MIN_CHARS)
  .max(PASSWORD_MAX_CHARS)
  .openapi({ example: "correct horse battery" });
const UserName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, "must be 1 to 64 of a-z, 0-9, '.', '_', '-'.")
  .refine((name) => name !== "me", "is reserved.")
  .openapi({ example: "ada" });
const Credentials = z.strictObject({ email: Email, password: Password });

const SESSION_BEGAN = { description: "The session is in the cookie" };

const signUpRoute = createRoute({
  method: "post",
  path: "/api/auth/sign-up",
  tags: ["sign-in"],
  summary: "Create an account for yourself",
  description: "Where the gateway is open to strangers; elsewhere administrators create users.",
  request: { body: jsonBody(Credentials.extend({ name: UserName }).openapi("SignUp")) },
  responses: { 204: SESSION_BEGAN, ...problems(400, 403, 409, 413, 415) },
});

const signInRoute = createRoute({
  method: "post",
  path: "/api/auth/sign-in",
  tags: ["sign-in"],
  summary: "Begin a session",
  request: { body: jsonBody(Credentials.openapi("SignIn")) },
  responses: { 204: SESSION_BEGAN, ...problems(400, 401, 413, 415) },
});

const signOutRoute = createRoute({
  method: "post",
  path: "/api/auth/sign-out",
  tags: ["sign-in"],
  summary: "End the session",
  description: "Does nothing where there is none.",
  responses: { 204: { description: "It is over" }, ...problems(403) },
});

const passwordRoute = createRoute({
  method: "put",
  path: "/api/users/me/sign-in",
  tags: ["sign-in"],
  summary: "Choose the e-mail address and the password that you sign in with",
  description: "With an API key at first. Every session ends.",
  ...needsApiKey,
  request: { body: jsonBody(Credentials.openapi("ChooseSignIn")) },
  responses: { 204: { description: "They hold from now on" }, ...problems(400, 401, 409, 413, 415) },
});

export function registerSignIn(api: Api): void {
  api.openapi(signUpRoute, async (c) => {
    setCookies(c, await signUp(c.var.signIn, c.req.valid("json")));
    return c.body(null, 204);
  });

  api.openapi(signInRoute, async (c) => {
    setCookies(c, await signIn(c.var.signIn, c.req.valid("json")));
    return c.body(null, 204);
  });

  api.openapi(signOutRoute, async (c) => {
    const { headers } = c.req.raw;
    if (sessionCookie(headers) === undefined) return c.body(null, 204);
    refuseForeignPages(c);
    setCookies(c, await signOut(c.var.signIn, headers));
    return c.body(null, 204);
  });

  api.openapi(passwordRoute, async (c) => {
    const { email, password } = c.req.valid("json");
    await putPassword(c.var.deps.sql, {
      userId: c.var.user.id,
      email,
      password: await hashPassword(password),
    });
    return c.body(null, 204);
  });
}

function setCookies(c: Context<ApiEnv>, { cookies }: SignedIn): void {
  for (const cookie of cookies) c.header("set-cookie", cookie, { append: true });
}

/**
 * API keys: `cyx_` and 32 random bytes in base64url. Only their SHA-256 is stored; with 256 random bits a
 * slow hash would add nothing. A missing, malformed, unknown and revoked key are answered alike.
 */
import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { base64url } from "jose";
import { findUserByKeyHash, type User } from "../catalog/users.ts";
import { DataStreamError } from "../core/errors.ts";
import type { Sql } from "../core/ports.ts";
import type { ApiEnv } from "./api/app.ts";
import { sessionCookie, sessionUser } from "./sign-in/sessions.ts";

const API_KEY = /^cyx_[A-Za-z0-9_-]{43}$/;

/** The credential after `Bearer`, or undefined. */
export function bearerCredential(headers: Headers): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1];
}

/** The credential after `Bearer` or, for a token that is bound to a key, `DPoP` (RFC 9449), or undefined. */
export function tokenCredential(headers: Headers): string | undefined {
  return /^(?:Bearer|DPoP) +(\S+) *$/i.exec(headers.get("authorization") ?? "")?.[1];
}

export function isApiKey(credential: string): boolean {
  return API_KEY.test(credential);
}

/** A key that nobody had before. Show it once, store its hash alone. */
export function newApiKey(): string {
  return `cyx_${base64url.encode(crypto.getRandomValues(new Uint8Array(32)))}`;
}

export async function hashApiKey(apiKey: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(apiKey)));
}

/** @throws DataStreamError `unauthenticated`, in the same words whatever was wrong. */
export async function authenticate(sql: Sql, headers: Headers): Promise<User> {
  const credential = bearerCredential(headers) ?? "";
  // The lookup happens for every request, so that its time says nothing about the key's form.
  const user = await findUserByKeyHash(sql, await hashApiKey(credential));
  if (user === undefined || !isApiKey(credential)) throw unauthenticated();
  return user;
}

export function unauthenticated(): DataStreamError {
  return new DataStreamError("unauthenticated", "Send a valid API key as `Authorization: Bearer cyx_…`.");
}

/** Who makes a REST request, by API key or, where none is sent, by the session of a page. */
export async function requestUser(c: Context<ApiEnv>): Promise<User> {
  const { headers } = c.req.raw;
  if (headers.has("authorization") || sessionCookie(headers) === undefined)
    return authenticate(c.var.deps.sql, headers);
  refuseForeignPages(c);
  const user = await sessionUser(c.var.signIn, headers);
  if (user === undefined) throw unauthenticated();
  return user;
}

/**
 * A browser sends cookies by itself, so whatever changes something has to come from a page of this gateway. The
 * cookie is `SameSite=Strict` as well; this holds where a browser does not know that, and for sites beside us.
 */
export function refuseForeignPages(c: Context<ApiEnv>): void {
  if (c.req.method === "GET" || c.req.method === "HEAD") return;
  if (c.req.header("origin") === new URL(c.req.url).origin) return;
  throw new DataStreamError(
    "permission_denied",
    "A session changes things only from a page of this gateway. Programs send an API key.",
  );
}

/** Lets users through and sets `c.var.user`. */
export const requireUser: ReturnType<typeof createMiddleware<ApiEnv>> = createMiddleware<ApiEnv>(
  async (c, next) => {
    const { headers } = c.req.raw;
    const user = await requestUser(c);
    c.set("user", user);
    c.set("credential", bearerCredential(headers) ?? sessionCookie(headers) ?? "");
    c.set("log", c.var.log.with({ user_id: user.id }));
    await next();
  },
);

/** After `requireUser`: lets administrators through. */
export const requireAdmin: ReturnType<typeof createMiddleware<ApiEnv>> = createMiddleware<ApiEnv>(
  async (c, next) => {
    if (c.var.user.role !== "admin") {
      throw new DataStreamError("permission_denied", "This needs an API key of an administrator.");
    }
    await next();
  },
);

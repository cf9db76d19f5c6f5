/**
 * Rate limits by the platform's own limiter: no database, no latency. It counts per place of the network and
 * approximately, so a limit is a bound on load, NOT an exact quota.
 * (https://developers.cloudflare.com/workers/runtime-apis/bindings/rate-limit/)
 */
import { createMiddleware } from "hono/factory";
import { toHex } from "../core/bytes.ts";
import { type RateLimit, RATE_LIMITS } from "../core/limits.ts";
import type { ApiEnv } from "./api/app.ts";
import { HttpError } from "./api/problem.ts";
import type { Env, RateLimitBinding } from "./env.ts";

type RouteClass = keyof typeof RATE_LIMITS;

const BINDINGS: Readonly<Record<RouteClass, RateLimitBinding>> = {
  read: "RATE_READ",
  write: "RATE_WRITE",
  stream: "RATE_STREAM",
  sign_in: "RATE_SIGN_IN",
  address: "RATE_ADDRESS",
};

/**
 * Counts a request against its caller's limit of this class, and against its address, since credentials that nobody
 * has checked yet can be changed at will.
 * @returns the limit that it exceeds, or undefined.
 */
export async function exceededLimit(
  env: Env,
  request: Request,
  routeClass: RouteClass,
): Promise<RateLimit | undefined> {
  const address = request.headers.get("cf-connecting-ip") ?? "local";
  const caller = routeClass === "sign_in" ? address : await callerKey(request.headers, address);
  const counted = [
    [routeClass, caller],
    ["address", address],
  ] as const;
  const outcomes = await Promise.all(
    counted.map(async ([name, key]) => ({ name, ...(await env[BINDINGS[name]].limit({ key })) })),
  );
  const exceeded = outcomes.find(({ success }) => !success);
  return exceeded && RATE_LIMITS[exceeded.name];
}

/** A caller is who holds a credential; without one, an address. Credentials are hashed, as keys may be stored. */
async function callerKey(headers: Headers, address: string): Promise<string> {
  const credential = headers.get("authorization") ?? headers.get("cookie");
  if (credential === null) return address;
  return toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(credential))));
}

export function tooManyRequests(seconds: number): HttpError {
  return new HttpError(
    429,
    "resource_exhausted",
    `Too many requests. Send fewer, and try again in ${seconds} seconds.`,
    { headers: { "retry-after": `${seconds}` } },
  );
}

/** Where passwords are tried, or mail is sent. */
const SIGN_IN = /^\/api\/(auth\/sign-(in|up)|users\/me\/verification-mail)$/;

/** REST: reads and writes are counted apart. */
export const limitRate: ReturnType<typeof createMiddleware<ApiEnv>> = createMiddleware<ApiEnv>(
  async (c, next) => {
    const { method } = c.req;
    const isRead = method === "GET" || method === "HEAD";
    const routeClass = SIGN_IN.test(c.req.path) ? "sign_in" : isRead ? "read" : "write";
    const exceeded = await exceededLimit(c.env, c.req.raw, routeClass);
    if (exceeded !== undefined) throw tooManyRequests(exceeded.seconds);
    await next();
  },
);

/**
 * The REST application and what every route module plugs into.
 *
 * A route module exports `registerX(api: Api): void` and is listed in `functions/api/routes.ts`. It declares each
 * route with `createRoute` (full path, schemas with examples, `...problems(statuses)` for what it refuses) and
 * gives it to `api.openapi(route, handler)`. Handlers get adapters from `c.var.deps`, validated input from
 * `c.req.valid(…)`, throw `DataStreamError`, and return success alone. `...needsApiKey` makes a route answer
 * holders of an API key only and sets `c.var.user`; without it a route is public or checks access itself.
 */
import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { User } from "../../catalog/users.ts";
import { sentenceOf } from "../../core/refusal.ts";
import { requireAdmin, requireUser } from "../auth.ts";
import { limitRate } from "../rate-limits.ts";
import { depsFrom, type Deps, signInFrom } from "../deps.ts";
import type { Env } from "../env.ts";
import { type Invocation, openInvocation } from "../invocation.ts";
import type { Log } from "../log.ts";
import type { SignInDeps } from "../sign-in/sessions.ts";
import { answerOnce } from "./idempotency.ts";
import {
  allowBrowsers,
  answerFailure,
  answerUnknown,
  limitBody,
  protectAnswer,
  recordRequest,
  refuseInvalid,
} from "./middleware.ts";

export interface ApiVariables {
  readonly deps: Deps;
  readonly signIn: SignInDeps;
  readonly invocation: Invocation;
  /** Also in the `X-Request-Id` header and in every problem. */
  readonly requestId: string;
  /** Carries the request's id. */
  readonly log: Log;
  /** Only behind `requireUser`. */
  readonly user: User;
  /** What proved that: a secret. Only behind `requireUser`. */
  readonly credential: string;
}

export interface ApiEnv {
  Bindings: Env;
  Variables: ApiVariables;
}

export type Api = OpenAPIHono<ApiEnv>;

/** An application without routes. */
export function createApi(): Api {
  // For every schema of this isolate: what a schema says itself goes before it.
  z.config({ localeError: sentenceOf });
  const api = new OpenAPIHono<ApiEnv>({
    defaultHook: refuseInvalid,
    // As it was sent: the framework would decode some escapes before it looks for the route.
    getPath: (request) => new URL(request.url).pathname,
  });
  api.use(recordRequest, protectAnswer);
  api.use("/api/*", allowBrowsers, limitRate, limitBody, async (c, next) => {
    const deps = await depsFrom(c.env);
    c.set("deps", deps);
    c.set("signIn", signInFrom(c.env, deps));
    c.set(
      "invocation",
      openInvocation({ ...deps, log: c.var.log }, (work) => c.executionCtx.waitUntil(work)),
    );
    await next();
  });
  api.onError(answerFailure);
  api.notFound((c) => answerUnknown(c, api.router));
  return api;
}

/** Spread into `createRoute`: an API key or a session is needed; `c.var.user` is its user. */
export const needsApiKey: {
  readonly security: { api_key: [] }[];
  readonly middleware: [typeof requireUser, typeof answerOnce];
} = { security: [{ api_key: [] }], middleware: [requireUser, answerOnce] };

/** The same for administrators only. */
export const needsAdmin: {
  readonly security: { api_key: [] }[];
  readonly middleware: [typeof requireUser, typeof requireAdmin, typeof answerOnce];
} = { security: [{ api_key: [] }], middleware: [requireUser, requireAdmin, answerOnce] };

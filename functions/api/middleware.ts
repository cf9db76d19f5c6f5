/** What surrounds every request: id, log line, headers, limits, and the way from an error to a problem. */
import type { Context, ErrorHandler, MiddlewareHandler } from "hono";
import type { Hook } from "@hono/zod-openapi";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { secureHeaders } from "hono/secure-headers";
import { DataStreamError } from "../../core/errors.ts";
import { JSON_BODY_MAX_BYTES } from "../../core/limits.ts";
import { refusalOf } from "../../core/refusal.ts";
import { createLog, errorFields } from "../log.ts";
import { VERIFICATION_PATH } from "../sign-in/sessions.ts";
import type { ApiEnv } from "./app.ts";
import { HttpError, normalise, problemResponse } from "./problem.ts";

/** Gives the request its id and its log, and writes one line about it when the answer's head is ready. */
export const recordRequest: MiddlewareHandler<ApiEnv> = async (c, next) => {
  const startedAt = Date.now();
  const requestId = crypto.randomUUID();
  c.set("requestId", requestId);
  c.set("log", createLog().with({ request_id: requestId }));
  await next();
  c.res.headers.set("x-request-id", requestId);
  if (!c.res.headers.has("cache-control")) c.res.headers.set("cache-control", "private, no-cache");
  const { pathname } = new URL(c.req.url);
  const line = {
    method: c.req.method,
    path: pathname.slice(0, 300),
    status: c.res.status,
    ms: Date.now() - startedAt,
  };
  c.var.log.info("request", c.error ? { ...line, code: DataStreamError.from(c.error).code } : line);
};

/** Answers hold what users stored: no browser may guess a type, run or frame any of it. */
export const protectAnswer: MiddlewareHandler = (c, next) => (PAGES[c.req.path] ?? protectData)(c, next);

const PROTECTION = {
  strictTransportSecurity: "max-age=63072000; includeSubDomains",
  xFrameOptions: "DENY",
  permissionsPolicy: { camera: [], geolocation: [], microphone: [], payment: [], usb: [] },
  xXssProtection: false,
  xDownloadOptions: false,
  xPermittedCrossDomainPolicies: false,
  xDnsPrefetchControl: false,
  originAgentCluster: false,
};

const protectData = secureHeaders({
  ...PROTECTION,
  contentSecurityPolicy: { defaultSrc: ["'none'"], frameAncestors: ["'none'"], sandbox: [] },
});

const PAGE_POLICY = {
  defaultSrc: ["'none'"],
  styleSrc: ["'self'"],
  baseUri: ["'none'"],
  formAction: ["'none'"],
  frameAncestors: ["'none'"],
};

/** The reference runs nothing, and has a stylesheet beside it; the other page has its one script too. */
const PAGES: Readonly<Record<string, MiddlewareHandler>> = {
  "/docs": secureHeaders({ ...PROTECTION, contentSecurityPolicy: PAGE_POLICY }),
  [VERIFICATION_PATH]: secureHeaders({
    ...PROTECTION,
    contentSecurityPolicy: { ...PAGE_POLICY, scriptSrc: ["'self'"], connectSrc: ["'self'"] },
  }),
};

/** Pages of any origin may call: who asks is told by a header, never by a cookie that a browser adds by itself. */
export const allowBrowsers: MiddlewareHandler = cors({
  origin: "*",
  allowMethods: ["GET", "HEAD", "PUT", "POST", "DELETE"],
  allowHeaders: [
    "Authorization",
    "Content-Type",
    "DPoP",
    "Idempotency-Key",
    "If-None-Match",
    "If-Range",
    "Range",
  ],
  exposeHeaders: [
    "Content-Length",
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "Retry-After",
    "WWW-Authenticate",
    "X-Cyxcloud-Sha256",
    "X-Request-Id",
  ],
  maxAge: 7200,
});

/** Part bodies are counted by their own route: they may be larger, and stream. */
const STREAMED_BODY = /^\/api\/uploads\/[^/]+\/parts\/[^/]+$/;

const limitJson = bodyLimit({
  maxSize: JSON_BODY_MAX_BYTES,
  onError: () => {
    throw new HttpError(
      413,
      "invalid_argument",
      `body: a request holds at most ${JSON_BODY_MAX_BYTES} bytes here.`,
      {
        details: { field: "body", limit: JSON_BODY_MAX_BYTES },
      },
    );
  },
});

export const limitBody: MiddlewareHandler<ApiEnv> = async (c, next) => {
  const streamed = c.req.method === "PUT" && STREAMED_BODY.test(new URL(c.req.url).pathname);
  return streamed ? next() : limitJson(c, next);
};

/** Where input is looked for, in the words of a caller. */
const PLACES = {
  query: "query",
  param: "path",
  header: "header",
  json: "body",
  form: "body",
  cookie: "cookie",
};

/** The default hook: input that does not fit its schema is refused by field and limit. */
export const refuseInvalid: Hook<unknown, ApiEnv, string, unknown> = (result) => {
  if (result.success) return;
  const place = PLACES[result.target];
  throw refusalOf(result.error.issues, { place, in: place });
};

/** The error handler: one problem, and a log line where an operator has to know. */
export const answerFailure: ErrorHandler<ApiEnv> = (thrown, c) => {
  const error = normalise(thrown);
  // A caller over their rate is no news: the request's own line says it, and a flood shall not fill the log twice.
  const overRate = error instanceof HttpError && error.status === 429;
  if (error.fault !== "caller" && !overRate) {
    const level = error.code === "resource_exhausted" ? "warn" : "error";
    (c.var.log ?? createLog())[level]("failure", errorFields(error));
  }
  return problemResponse(error, c.var.requestId);
};

const METHODS = ["GET", "PUT", "POST", "DELETE"] as const;

interface Matcher {
  match(method: string, path: string): readonly [readonly unknown[], ...unknown[]];
}

/** 404, or 405 with `Allow` where the path exists for other methods. Returned, as a throw would skip the headers. */
export function answerUnknown(c: Context<ApiEnv>, router: Matcher): Response {
  const allowed = METHODS.filter((method) => hasRoute(router, method, c.req.path));
  if (allowed.length === 0) {
    const error = new DataStreamError("not_found", "Nothing is here. /openapi.json lists every route.");
    return problemResponse(error, c.var.requestId);
  }
  const allow = allowed.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
  const error = new HttpError(405, "invalid_argument", `This path answers ${allow}.`, { headers: { allow } });
  return problemResponse(error, c.var.requestId);
}

/** Middleware matches every method; only a route is registered for this one. */
function hasRoute(router: Matcher, method: string, path: string): boolean {
  const [handlers] = router.match(method, path) as [readonly [[unknown, { method: string }]][]];
  return handlers.some(([[, route]]) => route.method === method);
}

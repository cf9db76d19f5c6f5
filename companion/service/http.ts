/** Everything that the companion's port answers. */
import { cors } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { SERVICE_BODY_MAX_BYTES } from "../../core/limits.ts";
import { DataStreamService } from "../../proto/index.ts";
import { PROTOCOL_VERSION, type BackendReport } from "../handoff/messages.ts";
import type { Activity } from "./activity.ts";
import { dataStreamRoutes, type BatchOpener } from "./datastream.ts";
import type { Gateways } from "./gateways.ts";
import { Guard, SECRET_HEADER, type GuardOptions } from "./guard.ts";
import type { Metrics } from "./metrics.ts";
import type { PortRequest, PortResponse } from "./one-port.ts";

export const WELL_KNOWN_ROUTE = "/.well-known/cyxcloud-companion";
const SERVICE_PREFIX = `/${DataStreamService.typeName}/`;
/** Never compressed: batches are noise already. */
const COMPRESS_NOTHING: number = Number.MAX_SAFE_INTEGER;

export interface HttpOptions {
  readonly guard: GuardOptions;
  readonly isUnix: boolean;
  readonly version: string;
  readonly gateway: string | undefined;
  readonly handoffSocket: string;
  readonly backends: readonly BackendReport[];
  readonly gateways: Gateways;
  readonly opener: BatchOpener;
  readonly metrics: Metrics;
  readonly activity: Activity;
  readonly health: () => { readonly draining: boolean; readonly streams: number };
}

export function httpHandler(options: HttpOptions): (request: PortRequest, response: PortResponse) => void {
  const { gateways, opener, isUnix, activity } = options;
  const guard = new Guard(options.guard);
  const service = connectNodeAdapter({
    routes: dataStreamRoutes(gateways, opener),
    acceptCompression: [],
    compressMinBytes: COMPRESS_NOTHING,
    readMaxBytes: SERVICE_BODY_MAX_BYTES,
  });
  return (request, response) => {
    const path = request.url?.split("?")[0] ?? "/";
    const { headers } = request;
    // A Unix socket has no host; some clients send its path as one.
    if (isUnix) headers[headers[":authority"] === undefined ? "host" : ":authority"] = "localhost";
    const { origin } = headers;
    if (origin !== undefined && guard.isAllowedOrigin(origin)) allowOrigin(response, origin);
    const isPreflight = request.method === "OPTIONS" && origin !== undefined;
    const refusal = guard.check(headers, { isUnix, needsSecret: !isPreflight && path !== "/healthz" });
    if (refusal !== undefined) answer(response, refusal.status, `${refusal.message}\n`);
    else if (isPreflight) answer(response, 204, "");
    else if (path.startsWith(SERVICE_PREFIX)) {
      activity.enter();
      response.once("close", () => activity.leave());
      service(request, response);
    } else void answerLocal(options, path, request, response);
  };
}

async function answerLocal(
  options: HttpOptions,
  path: string,
  { method }: PortRequest,
  response: PortResponse,
): Promise<void> {
  if (method !== "GET" && method !== "HEAD") return answer(response, 405, "Only GET is answered here.\n");
  switch (path) {
    case "/metrics": {
      const { registry } = options.metrics;
      return answer(response, 200, await registry.metrics(), registry.contentType);
    }
    case "/healthz": {
      const { draining, streams } = options.health();
      const status = { live: true, ready: !draining, draining, streams };
      return answer(response, draining ? 503 : 200, `${JSON.stringify(status)}\n`, "application/json");
    }
    case WELL_KNOWN_ROUTE:
      options.activity.touch();
      return answer(response, 200, `${JSON.stringify(wellKnown(options))}\n`, "application/json");
    default:
      return answer(response, 404, "There is nothing here.\n");
  }
}

function wellKnown({ version, handoffSocket, gateway, backends }: HttpOptions): object {
  return {
    protocol: PROTOCOL_VERSION,
    version,
    pid: process.pid,
    handoff_socket: handoffSocket,
    gateway: gateway ?? null,
    backends,
  };
}

function allowOrigin(response: PortResponse, origin: string): void {
  response.setHeader("access-control-allow-origin", origin);
  response.setHeader("access-control-allow-methods", "GET, POST");
  const headers = [...cors.allowedHeaders, "Authorization", "DPoP", SECRET_HEADER];
  response.setHeader("access-control-allow-headers", headers.join(", "));
  response.setHeader("access-control-expose-headers", cors.exposedHeaders.join(", "));
  response.setHeader("vary", "Origin");
}

function answer(
  response: PortResponse,
  status: number,
  body: string,
  contentType: string = "text/plain; charset=utf-8",
): void {
  response.statusCode = status;
  if (body !== "") response.setHeader("content-type", contentType);
  response.setHeader("cache-control", "no-store");
  response.end(body);
}

/**
 * DataStreamService over Connect and gRPC-Web. StreamBatches with binary messages takes the hot path of
 * `stream/`; everything else goes through Connect's own handlers. Native gRPC is refused: Workers cannot
 * send the HTTP/2 trailers it needs.
 */
import {
  createContextKey,
  createContextValues,
  createConnectRouter,
  cors as connectCors,
  type HandlerContext,
} from "@connectrpc/connect";
import {
  universalServerRequestFromFetch,
  universalServerResponseToFetch,
  type UniversalHandler,
} from "@connectrpc/connect/protocol";
import { parseTimeout as parseConnectTimeout } from "@connectrpc/connect/protocol-connect";
import { parseTimeout as parseGrpcTimeout } from "@connectrpc/connect/protocol-grpc-web";
import { cors } from "hono/cors";
import { SERVICE_BODY_MAX_BYTES } from "../../core/limits.ts";
import { DataStreamService } from "../../proto/index.ts";
import type { Api } from "../api/app.ts";
import { depsFrom } from "../deps.ts";
import { errorFields } from "../log.ts";
import { exceededLimit, tooManyRequests } from "../rate-limits.ts";
import { toConnectError } from "./connect-error.ts";
import { gzip } from "./gzip.ts";
import { acknowledgeBatches } from "./stream/acknowledge.ts";
import {
  isUnsupportedGrpc,
  readStreamRequest,
  streamProtocol,
  type StreamProtocol,
} from "./stream/framing.ts";
import { streamMessages } from "./stream/generic.ts";
import { openStream, type StreamCall } from "./stream/open.ts";
import { refusal, streamResponse } from "./stream/response.ts";
import { unaryMethods } from "./unary.ts";

const PREFIX = `/${DataStreamService.typeName}/`;
const STREAM_BATCHES = `${PREFIX}${DataStreamService.method.streamBatches.name}`;

const callKey = createContextKey<StreamCall | undefined>(undefined);

/** Adds the service's routes, and answers for browsers of any origin: credentials are never cookies. */
export function dataStreamRoutes(api: Api): void {
  const handlers = connectHandlers();
  api.use(
    `${PREFIX}*`,
    cors({
      origin: "*",
      allowMethods: [...connectCors.allowedMethods],
      allowHeaders: [...connectCors.allowedHeaders, "Authorization", "DPoP"],
      exposeHeaders: [...connectCors.exposedHeaders, "WWW-Authenticate"],
      maxAge: 7200,
    }),
  );
  api.post(`${PREFIX}*`, async (c) => {
    const request = c.req.raw;
    const exceeded = await exceededLimit(c.env, request, "stream");
    if (exceeded !== undefined) return refuseFor(exceeded.seconds);
    if (isUnsupportedGrpc(request.headers)) return unsupportedMediaType();
    const path = new URL(request.url).pathname;
    const protocol = path === STREAM_BATCHES ? streamProtocol(request.headers) : undefined;
    const handler = handlers.get(path);
    if (handler === undefined) return c.notFound();
    const openCall = async (): Promise<StreamCall> => ({
      env: c.env,
      deps: await depsFrom(c.env),
      request,
      waitUntil: (work) => c.executionCtx.waitUntil(work),
    });
    if (protocol !== undefined) return answerStream(openCall, request, protocol);
    const contextValues = createContextValues().set(callKey, await openCall());
    const answer = await handler({ ...universalServerRequestFromFetch(request, {}), contextValues });
    return universalServerResponseToFetch(answer);
  });
}

async function answerStream(
  openCall: () => Promise<StreamCall>,
  request: Request,
  protocol: StreamProtocol,
): Promise<Response> {
  let call: StreamCall | undefined;
  try {
    const timeout = timeoutOf(request.headers, protocol);
    const message = await readStreamRequest(request, protocol);
    call = await openCall();
    return streamResponse(await openStream(call, message), protocol, call.deps.log, timeout);
  } catch (thrown) {
    const error = toConnectError(thrown);
    call?.deps.log.info("stream_refused", errorFields(thrown));
    return refusal(error, protocol);
  }
}

/** @throws ConnectError `invalid_argument` for a time that is malformed. */
function timeoutOf(headers: Headers, protocol: StreamProtocol): number | undefined {
  const parsed = protocol.contentType.startsWith("application/grpc")
    ? parseGrpcTimeout(headers.get("grpc-timeout"), Number.POSITIVE_INFINITY)
    : parseConnectTimeout(headers.get("connect-timeout-ms"), Number.POSITIVE_INFINITY);
  if (parsed.error !== undefined) throw parsed.error;
  return parsed.timeoutMs;
}

function connectHandlers(): ReadonlyMap<string, UniversalHandler> {
  const router = createConnectRouter({
    grpc: false,
    readMaxBytes: SERVICE_BODY_MAX_BYTES,
    acceptCompression: [gzip],
    compressMinBytes: Number.MAX_SAFE_INTEGER,
  });
  router.service(DataStreamService, {
    ...unaryMethods(callOf),
    async *streamBatches(request, context) {
      try {
        yield* streamMessages(callOf(context), request, context.signal, context.responseTrailer);
      } catch (thrown) {
        throw toConnectError(thrown);
      }
    },
    async ackBatches(request, context) {
      try {
        return await acknowledgeBatches(callOf(context), request);
      } catch (thrown) {
        throw toConnectError(thrown);
      }
    },
  });
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
}

function callOf(context: HandlerContext): StreamCall {
  const call = context.values.get(callKey);
  if (call === undefined) throw new Error("A handler was called without its call.");
  return call;
}

function unsupportedMediaType(): Response {
  return new Response(
    "Use Connect or gRPC-Web with binary or JSON messages. Native gRPC and grpc-web-text are not served here.\n",
    {
      status: 415,
      headers: {
        "content-type": "text/plain; charset=utf-8",
        "accept-post":
          "application/proto, application/json, application/connect+proto, application/connect+json, application/grpc-web+proto, application/grpc-web+json",
      },
    },
  );
}

/** In Connect's form; clients of gRPC-Web take any 429 as `unavailable`, and try again too. */
function refuseFor(seconds: 10 | 60): Response {
  const { code, message } = tooManyRequests(seconds);
  return Response.json({ code, message }, { status: 429, headers: { "retry-after": `${seconds}` } });
}

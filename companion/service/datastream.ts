/**
 * DataStreamService on the companion's port, over gRPC, gRPC-Web, Connect and JSON: batches come verified and as they
 * were received; every other call goes to the gateway with the caller's own credentials.
 */
import { Code, ConnectError, type ConnectRouter, type HandlerContext } from "@connectrpc/connect";
import { codeFromString } from "@connectrpc/connect/protocol-connect";
import type { DescMethodUnary, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { DataStreamError } from "../../core/errors.ts";
import { DataStreamService, type BatchResponse, type StreamBatchesRequest } from "../../proto/index.ts";
import type { Gateways } from "./gateways.ts";

/** What the port asks of the companion. */
export interface BatchOpener {
  /** Verified messages; each is void when the next is asked for. */
  batches(
    request: StreamBatchesRequest,
    accessToken: string,
    signal: AbortSignal,
  ): AsyncGenerator<BatchResponse>;
}

/** Headers of a call that the gateway has to see. */
const FORWARDED_HEADERS = ["authorization", "dpop", "idempotency-key"] as const;

export function dataStreamRoutes(gateways: Gateways, opener: BatchOpener): (router: ConnectRouter) => void {
  const forward = forwarder(gateways);
  const { method } = DataStreamService;
  return (router) => {
    router.service(DataStreamService, {
      async *streamBatches(request, context) {
        try {
          yield* opener.batches(request, tokenOf(request.accessToken, context), context.signal);
        } catch (error) {
          throw toConnectError(error);
        }
      },
      getDatasetInfo: forward(method.getDatasetInfo, (request) => request.accessToken),
      ackBatches: forward(method.ackBatches, (request) => request.accessToken),
      getReceipt: forward(method.getReceipt, (request) => request.accessToken),
      createAccessToken: forward(method.createAccessToken),
      revokeAccessToken: forward(method.revokeAccessToken),
      verifyDataset: forward(method.verifyDataset),
    });
  };
}

type Handler<M extends DescMethodUnary> = (
  request: MessageShape<M["input"]>,
  context: HandlerContext,
) => Promise<MessageInitShape<M["output"]>>;

/** @param tokenOfRequest of methods whose access token may be bound to this node: the companion proves its key then. */
function forwarder(
  gateways: Gateways,
): <M extends DescMethodUnary>(
  method: M,
  tokenOfRequest?: (request: MessageShape<M["input"]>) => string,
) => Handler<M> {
  return (method, tokenOfRequest) => async (request, context) => {
    try {
      const address = gateways.address();
      const headers = new Headers();
      for (const name of FORWARDED_HEADERS) {
        const value = context.requestHeader.get(name);
        if (value !== null) headers.set(name, value);
      }
      const token = tokenOfRequest?.(request) ?? "";
      if (token !== "" && !headers.has("dpop")) {
        const route = `/${method.parent.typeName}/${method.name}`;
        const proven = await gateways.client(address, token).gateway.authorize("POST", route, token);
        for (const [name, value] of Object.entries(proven)) headers.set(name, value);
      }
      const { signal } = context;
      const answer = await gateways.transport(address).unary(method, signal, undefined, headers, request);
      return answer.message as never;
    } catch (error) {
      throw toConnectError(error);
    }
  };
}

function tokenOf(accessToken: string, { requestHeader }: HandlerContext): string {
  const token =
    accessToken === "" ? /^bearer +(.+)$/i.exec(requestHeader.get("authorization") ?? "")?.[1] : accessToken;
  if (token === undefined)
    throw new DataStreamError(
      "unauthenticated",
      "access_token: a stream needs an access token, in the request or as Authorization: Bearer.",
    );
  return token;
}

/** Code and message of anything thrown, never the cause. An error of the gateway stays what it was. */
function toConnectError(thrown: unknown): ConnectError {
  if (thrown instanceof ConnectError) return new ConnectError(thrown.rawMessage, thrown.code);
  const { code, message } = DataStreamError.from(thrown);
  return new ConnectError(message, codeFromString(code) ?? Code.Internal);
}

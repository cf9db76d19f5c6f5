/** From a request to a running producer: every gate, then the plan, then the session. */
import { DataStreamError } from "../../../core/errors.ts";
import { INVOCATION_AGE_MS, INVOCATION_BYTES } from "../../../core/limits.ts";
import { parametersJson } from "../../../core/stream/parameters.ts";
import type { StreamBatchesRequest } from "../../../proto/index.ts";
import { authorizeStream } from "../../access.ts";
import { tokenCredential } from "../../auth.ts";
import type { Deps } from "../../deps.ts";
import type { Env } from "../../env.ts";
import { openInvocation } from "../../invocation.ts";
import { errorFields, type LogFields } from "../../log.ts";
import { type IncomingRequest, presentationOf } from "../../presentation.ts";

import { watchAccess } from "./access-watch.ts";
import { AheadBudget } from "./ahead.ts";
import { gatedSql, InvocationBudget } from "./budget.ts";
import { planStream } from "./plan.ts";
import { BatchProducer, type StreamEnd, type StreamMessage } from "./producer.ts";
import { parseStreamRequest } from "./request.ts";
import { sessionPort } from "./session-port.ts";
import { Views } from "./view.ts";
import { Windows } from "./windows.ts";

export interface RunningStream {
  readonly streamId: string;
  /** For the line that is logged when the stream ends. */
  readonly fields: LogFields;
  next(): Promise<StreamMessage | StreamEnd>;
  /** Ends the stream early; `next` throws the reason. What was handed out last stays readable until the next call. */
  end(reason: DataStreamError): void;
  /** Call it always, when nobody reads any more; more than once has no effect. */
  close(): void;
  readonly sent: number;
}

const views = new Views();

export interface StreamCall {
  readonly env: Env;
  readonly deps: Deps;
  readonly request: IncomingRequest;
  waitUntil(work: Promise<unknown>): void;
}

/**
 * @throws everything that keeps a stream from beginning; then nothing is held and nothing was sent.
 */
export async function openStream(call: StreamCall, message: StreamBatchesRequest): Promise<RunningStream> {
  const { deps, env } = call;
  const request = parseStreamRequest(message, tokenCredential(call.request.headers) ?? "");
  const presentation = presentationOf(call.request, message.accessToken !== "");
  const sql = gatedSql(deps.sql, () => connections);
  const { connections, reads } = openInvocation({ ...deps, sql }, (work) => call.waitUntil(work));
  const { invocationSubrequests: subrequests } = deps.config;
  const limits = { subrequests, bytes: INVOCATION_BYTES, ageMs: INVOCATION_AGE_MS };
  const invocation = new InvocationBudget(connections, limits, deps.clock);
  const access = await authorizeStream({ ...deps, sql }, { ...request, presentation });
  const { dataset, issuedBy, tokenId, nodeId } = access;
  const plan = await planStream({ sql, kernels: deps.kernels, views }, dataset, request);
  try {
    const streamId = request.streamId === "" ? crypto.randomUUID() : request.streamId;
    const name = { userId: issuedBy, datasetId: dataset.id, streamId };
    const session = sessionPort(env.STREAM_SESSIONS, name, connections);
    const { epoch, rank, worldSize, startIndex, resumeBatch } = request;
    const attachment = await session.attach({
      parameters: parametersJson(plan.parameters),
      shape: plan.shape,
      identity: { userId: issuedBy, streamId },
      holder: { tokenId, nodeId, at: deps.clock.now() },
      epoch,
      rank,
      worldSize,
      startIndex,
      ...(resumeBatch !== undefined && { resumeBatch }),
    });
    const windows = new Windows(
      { sql, chunks: deps.chunks, kernels: deps.kernels, session, clock: deps.clock },
      plan,
      { epoch, rank, worldSize, tokenId, maxTrustLevel: access.maxTrustLevel },
      attachment,
    );
    const ahead = AheadBudget.of(deps.budget);
    const producer = new BatchProducer({ ...reads, invocation, ahead }, windows, {
      streamId: new TextEncoder().encode(streamId),
      batchHash: request.batchHash,
    });
    const leave = ahead.join();
    const fields = {
      dataset_id: dataset.id,
      stream_id: streamId,
      epoch,
      rank,
      world_size: worldSize,
      lease: windows.lease,
    };
    // A reader that stands still asks for nothing, so that nothing else would notice.
    const unwatch = watchAccess(windows, (error) => {
      deps.log.info("stream_access_ended", { ...fields, ...errorFields(error) });
      producer.end(error);
    });
    return {
      streamId,
      fields,
      next: () => producer.next(),
      end: (reason) => {
        unwatch();
        producer.end(reason);
      },
      close: () => {
        unwatch();
        producer.close();
        plan.release();
        leave();
      },
      get sent() {
        return producer.sent;
      },
    };
  } catch (error) {
    plan.release();
    throw DataStreamError.from(error);
  }
}

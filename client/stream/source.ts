import { DataStreamError } from "../../core/errors.ts";
import type { BatchResponse, StreamBatchesRequest } from "../../proto/index.ts";
import type { Gateway } from "../http.ts";
import type { VerifiedDataset } from "./dataset.ts";
import { encodeRequest, readBatches, STREAM_CONTENT_TYPE, type StreamEnd } from "./frames.ts";
import type { Segment } from "./verifier.ts";

/** The call that every source makes. */
export const STREAM_BATCHES_ROUTE = "/cyxcloud.datastream.DataStreamService/StreamBatches";

/** The messages of one response, and how it ended. Its `return` gives the connection up. */
export type BatchMessages = AsyncGenerator<BatchResponse, StreamEnd, undefined>;

/**
 * Where the messages of a stream come from. Whatever a source yields is checked by the stream that asked, so a source
 * needs no trust; it may answer from elsewhere than the gateway.
 */
export interface BatchSource {
  /**
   * Makes one request. May be called for the next epoch while the response of the one before is still read.
   * @throws DataStreamError with the gateway's code; `unavailable` for a connection that cannot be made or breaks, which
   *   is asked for again. The generator throws the same.
   */
  open(request: StreamBatchesRequest, context: SourceContext): Promise<BatchMessages>;
  /** Takes back a message that no consumer will see: its check failed, or the stream ended first. Called once at most. */
  discard?(message: BatchResponse): void;
  /**
   * Whether the source made a message itself, of items that it had. The gateway has no part in it, so it has neither a
   * transcript head nor a lease; all else is checked as ever, and what does not fit is asked for again.
   */
  isLocal?(message: BatchResponse): boolean;
}

export interface SourceContext {
  readonly gateway: Gateway;
  readonly accessToken: string;
  /** Aborts when nobody wants this response any more; what the generator throws then is not looked at. */
  readonly signal: AbortSignal;
  /**
   * What this client itself knows of the segment, enough to find items by their hashes. Where `firstBatch` is undefined
   * the segment may begin elsewhere.
   */
  readonly segment: Segment;
  readonly dataset: VerifiedDataset;
  /** The batch that is asked for; undefined: the gateway says where the rank goes on. */
  readonly firstBatch: number | undefined;
}

/** The gateway, through the platform's fetch. */
export const fetchSource: BatchSource = {
  async open(request, { gateway, accessToken, signal }) {
    const response = await gateway.send("POST", STREAM_BATCHES_ROUTE, {
      body: encodeRequest(request),
      headers: { "content-type": STREAM_CONTENT_TYPE, "connect-protocol-version": "1" },
      accessToken,
      signal,
    });
    if (response.body === null)
      throw new DataStreamError("unavailable", "The gateway answered without a body.");
    return readBatches(response.body);
  },
};

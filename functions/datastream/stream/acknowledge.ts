/** AckBatches: the consumer is done with batches, and may go on from there another time. */
import { invalidArgument } from "../../../core/errors.ts";
import {
  type AckBatchesRequest,
  type AckBatchesResponse,
  AckBatchesResponseSchema,
} from "../../../proto/index.ts";
import { create } from "@bufbuild/protobuf";
import { ConnectionGate } from "../../../storage/connections.ts";
import { authorizeStream } from "../../access.ts";
import { bearerCredential } from "../../auth.ts";
import type { StreamCall } from "./open.ts";
import { checkStreamId, wholeNumber } from "./request.ts";
import { sessionPort } from "./session-port.ts";

/** The trust gate stood before the stream; what was streamed may be acknowledged at any level. */
const ANY_TRUST_LEVEL = 4;

/** @throws what core/stream/session.ts says of `acknowledge`. */
export async function acknowledgeBatches(
  call: StreamCall,
  ack: AckBatchesRequest,
): Promise<AckBatchesResponse> {
  const { deps, env, headers } = call;
  if (ack.streamId === "") throw invalidArgument("stream_id", "name the stream, as its batches do.");
  checkStreamId(ack.streamId);
  if (ack.transcriptHead.length !== 32)
    throw invalidArgument("transcript_head", `must have 32 bytes, not ${ack.transcriptHead.length}.`, {
      limit: 32,
    });
  const acknowledgement = {
    epoch: ack.epoch,
    rank: ack.rank,
    lease: wholeNumber("lease", ack.lease),
    batch: wholeNumber("batch_index", ack.batchIndex),
    head: ack.transcriptHead,
    checkpoint: ack.checkpoint,
  };
  const { dataset, issuedBy } = await authorizeStream(deps, {
    datasetRef: ack.datasetId,
    token: ack.accessToken === "" ? (bearerCredential(headers) ?? "") : ack.accessToken,
    maxTrustLevel: ANY_TRUST_LEVEL,
  });
  const name = { userId: issuedBy, datasetId: dataset.id, streamId: ack.streamId };
  const acknowledged = await sessionPort(env.STREAM_SESSIONS, name, new ConnectionGate()).acknowledge(
    acknowledgement,
  );
  return create(AckBatchesResponseSchema, { acknowledgedBatches: BigInt(acknowledged) });
}

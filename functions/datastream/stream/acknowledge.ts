/** AckBatches: the consumer is done with batches, and may go on from there another time. */
import { invalidArgument } from "../../../core/errors.ts";
import { verifyConsumerStatement } from "../../../core/stream/consumer-statement.ts";
import type { ConsumerSignature } from "../../../core/stream/session-records.ts";
import {
  type AckBatchesRequest,
  type AckBatchesResponse,
  AckBatchesResponseSchema,
} from "../../../proto/index.ts";
import { create } from "@bufbuild/protobuf";
import { ConnectionGate } from "../../../storage/connections.ts";
import { authorizeStream } from "../../access.ts";
import { tokenCredential } from "../../auth.ts";
import { presentationOf } from "../../presentation.ts";
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
  const { deps, env, request } = call;
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
    at: deps.clock.now(),
  };
  const { dataset, issuedBy } = await authorizeStream(deps, {
    datasetRef: ack.datasetId,
    token: ack.accessToken === "" ? (tokenCredential(request.headers) ?? "") : ack.accessToken,
    presentation: presentationOf(request, ack.accessToken !== ""),
    maxTrustLevel: ANY_TRUST_LEVEL,
  });
  const name = { userId: issuedBy, datasetId: dataset.id, streamId: ack.streamId };
  const consumer = consumerSignature(ack, dataset.id);
  const session = sessionPort(env.STREAM_SESSIONS, name, new ConnectionGate());
  const acknowledged = await session.acknowledge({ ...acknowledgement, ...(consumer && { consumer }) });
  return create(AckBatchesResponseSchema, { acknowledgedBatches: BigInt(acknowledged) });
}

/**
 * The consumer's own signature over what it acknowledges, where it sent one.
 * @throws `invalid_argument` for one that does not verify, so that a receipt never holds such a one.
 */
function consumerSignature(ack: AckBatchesRequest, datasetId: string): ConsumerSignature | undefined {
  const { consumerKey: publicKey, consumerSignature: signature } = ack;
  if (publicKey.length === 0 && signature.length === 0) return undefined;
  const statement = {
    datasetId,
    streamId: ack.streamId,
    epoch: ack.epoch,
    rank: ack.rank,
    lease: Number(ack.lease),
    batches: Number(ack.batchIndex) + 1,
    head: ack.transcriptHead,
  };
  if (verifyConsumerStatement(statement, { publicKey, signature })) return { publicKey, signature };
  throw invalidArgument(
    "consumer_signature",
    "does not verify with consumer_key. Sign the acknowledgement as docs/formats/receipt-v1.md says, or leave both empty.",
  );
}

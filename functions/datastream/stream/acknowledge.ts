/** AckBatches: the consumer is done with batches, and may go on from there another time. */
import { DataStreamError, invalidArgument } from "../../../core/errors.ts";
import { verifyConsumerStatement } from "../../../core/stream/consumer-statement.ts";
import type { ConsumerEvidence } from "../../../core/stream/session-records.ts";
import {
  type AckBatchesRequest,
  type AckBatchesResponse,
  AckBatchesResponseSchema,
} from "../../../proto/index.ts";
import { create } from "@bufbuild/protobuf";
import { ConnectionGate } from "../../../storage/connections.ts";
import { authorizeStream, type StreamAccess } from "../../access.ts";
import { tokenCredential } from "../../auth.ts";
import { keyThumbprint } from "../../proofs.ts";
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
  const { dataset, issuedBy, nodeId, confirmation } = await authorizeStream(deps, {
    datasetRef: ack.datasetId,
    token: ack.accessToken === "" ? (tokenCredential(request.headers) ?? "") : ack.accessToken,
    presentation: presentationOf(request, ack.accessToken !== ""),
    maxTrustLevel: ANY_TRUST_LEVEL,
  });
  const name = { userId: issuedBy, datasetId: dataset.id, streamId: ack.streamId };
  const consumer = await consumerEvidence(ack, dataset.id, { nodeId, confirmation });
  const session = sessionPort(env.STREAM_SESSIONS, name, new ConnectionGate());
  const acknowledged = await session.acknowledge({ ...acknowledgement, ...(consumer && { consumer }) });
  return create(AckBatchesResponseSchema, { acknowledgedBatches: BigInt(acknowledged) });
}

/**
 * The consumer's own signature over what it acknowledges, where it sent one, and whose it is.
 * @throws `invalid_argument` for one that does not verify, so that a receipt never holds such a one;
 *   `permission_denied` when a training node that proved itself signs with anything but the key that it registered.
 */
async function consumerEvidence(
  ack: AckBatchesRequest,
  datasetId: string,
  { nodeId, confirmation }: Pick<StreamAccess, "nodeId" | "confirmation">,
): Promise<ConsumerEvidence | undefined> {
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
  if (!verifyConsumerStatement(statement, { publicKey, signature }))
    throw invalidArgument(
      "consumer_signature",
      "does not verify with consumer_key. Sign the acknowledgement as docs/formats/receipt-v1.md says, or leave both empty.",
    );
  const isRegistered =
    confirmation?.kind === "key" && confirmation.thumbprint === (await keyThumbprint(publicKey));
  if (nodeId === null || isRegistered) return { publicKey, signature, nodeId };
  throw new DataStreamError(
    "permission_denied",
    "consumer_key: is not the key that the token's training node registered. Sign with that one, or not at all.",
    { details: { field: "consumer_key" } },
  );
}

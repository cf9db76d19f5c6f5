/** What a consumer signs of its own: how far it got under a lease, and with which transcript. */
import { toHex } from "../bytes.ts";
import { preAuthentication } from "../trust/dsse.ts";
import { type KeyPair, sign, verify } from "../trust/ed25519.ts";
import { statementBytes } from "../trust/statement.ts";
import type { ConsumerSignature } from "./session-records.ts";

export const CONSUMER_STATEMENT_TYPE: string = "application/vnd.cyxcloud.stream-acknowledgement.v1+json";

/** The lease fixes the world size and the start; the head commits to them, too. */
export interface ConsumerStatement {
  /** UUID of the dataset version. */
  readonly datasetId: string;
  readonly streamId: string;
  readonly epoch: number;
  readonly rank: number;
  readonly lease: number;
  /** Acknowledged batches, from 0 on. */
  readonly batches: number;
  /** The transcript after the last of them, 32 bytes. */
  readonly head: Uint8Array;
}

export function signConsumerStatement(statement: ConsumerStatement, key: KeyPair): ConsumerSignature {
  return { publicKey: key.publicKey, signature: sign(messageOf(statement), key) };
}

export function verifyConsumerStatement(
  statement: ConsumerStatement,
  { publicKey, signature }: ConsumerSignature,
): boolean {
  return verify(signature, messageOf(statement), publicKey);
}

function messageOf({
  datasetId,
  streamId,
  epoch,
  rank,
  lease,
  batches,
  head,
}: ConsumerStatement): Uint8Array {
  const payload = statementBytes({
    batches,
    dataset_id: datasetId,
    epoch,
    head: toHex(head),
    lease,
    rank,
    stream_id: streamId,
  });
  return preAuthentication(CONSUMER_STATEMENT_TYPE, payload);
}

import { create, toJson } from "@bufbuild/protobuf";
import { AckBatchesRequestSchema } from "../../proto/index.ts";
import { signConsumerStatement } from "../../core/stream/consumer-statement.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { Gateway } from "../http.ts";

/** What an acknowledgement says; a later one covers all before it in its epoch. */
export interface Acknowledgement {
  readonly epoch: number;
  readonly lease: bigint;
  readonly batchIndex: number;
  readonly transcriptHead: Uint8Array;
  readonly checkpoint: boolean;
}

export interface AcknowledgedStream {
  readonly datasetId: string;
  readonly accessToken: string;
  readonly streamId: string;
  readonly rank: number;
}

/**
 * Sends acknowledgements in the background, one call at a time. What piles up meanwhile is
 * merged into the newest of its epoch, checkpoints excepted: each says that the consumer
 * stored this very position, which holds for no other. The node signs each with its key where it has one. A passing failure is made good by the next one, since they are
 * cumulative; a contradiction about the transcript is kept and thrown.
 */
export class Acknowledger {
  readonly #gateway: Gateway;
  readonly #stream: AcknowledgedStream;
  readonly #waiting: Acknowledgement[] = [];
  #sending: Promise<void> | undefined;
  #failure: DataStreamError | undefined;

  constructor(gateway: Gateway, stream: AcknowledgedStream) {
    this.#gateway = gateway;
    this.#stream = stream;
  }

  /** @throws DataStreamError `data_loss` when the gateway's transcript differs from the client's. */
  push(acknowledgement: Acknowledgement): void {
    if (this.#failure !== undefined) throw this.#failure;
    const last = this.#waiting.at(-1);
    const covered = last !== undefined && !last.checkpoint && last.epoch === acknowledgement.epoch;
    if (covered && last.batchIndex <= acknowledgement.batchIndex) this.#waiting.pop();
    this.#waiting.push(acknowledgement);
    this.#sending ??= this.#drain();
  }

  /** Waits until everything pushed so far was sent or failed. */
  async flush(): Promise<void> {
    await this.#sending;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #drain(): Promise<void> {
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift())
      await this.#send(next);
    this.#sending = undefined;
  }

  async #send(acknowledgement: Acknowledgement): Promise<void> {
    const { nodeKey } = this.#gateway;
    const { epoch, transcriptHead: head } = acknowledgement;
    const lease = Number(acknowledgement.lease);
    const signed =
      nodeKey &&
      signConsumerStatement(
        { ...this.#stream, epoch, lease, batches: acknowledgement.batchIndex + 1, head },
        nodeKey,
      );
    const request = create(AckBatchesRequestSchema, {
      ...this.#stream,
      ...(signed && { consumerKey: signed.publicKey, consumerSignature: signed.signature }),
      epoch: acknowledgement.epoch,
      lease: acknowledgement.lease,
      batchIndex: BigInt(acknowledgement.batchIndex),
      transcriptHead: acknowledgement.transcriptHead,
      checkpoint: acknowledgement.checkpoint,
    });
    try {
      await this.#gateway.call("POST", "/cyxcloud.datastream.DataStreamService/AckBatches", {
        json: toJson(AckBatchesRequestSchema, request),
        headers: { "connect-protocol-version": "1" },
        accessToken: this.#stream.accessToken,
        idempotent: true,
      });
    } catch (thrown) {
      const error = DataStreamError.from(thrown);
      // A lease that a reconnect of our own has outdated is acknowledged again with the next batch.
      if (error.code === "data_loss") this.#failure = error;
    }
  }
}

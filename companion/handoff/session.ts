import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { HANDOFF_ATTACH_MS } from "../../core/limits.ts";
import type { Pipeline, ReadyBatch } from "../pipeline/pipeline.ts";
import type { HandoffConnection, HandoffHandler } from "./connection.ts";
import {
  PROTOCOL_VERSION,
  type BackendReport,
  type ClientMessage,
  type HandoffBackend,
  type ReleaseMessage,
  type StreamDescription,
  type StreamRequest,
} from "./messages.ts";

/** A stream that a host opened for a session. */
export interface OpenedStream {
  readonly pipeline: Pipeline;
  readonly description: StreamDescription;
  readonly streamId: string | null;
  readonly backend: HandoffBackend;
  readonly consumer: ConsumerObserver;
  /** The stream ended in an error, which the client was told. */
  failed(error: unknown): void;
  /** The stream gave everything back; acknowledgements may still be on their way. */
  closed(): void;
}

/** What a consumer does, as far as its messages tell. */
export interface ConsumerObserver {
  /** So many seconds it had a batch to work on. */
  worked(seconds: number): void;
  /** It asked for a batch, and had one after so many seconds, in which it had none. */
  dataReady(seconds: number): void;
  /** How many slots it holds now, of how many. */
  holds(slots: number, of: number): void;
}

/** What sessions ask of the companion. */
export interface SessionHost {
  readonly version: string;
  readonly backends: readonly BackendReport[];
  /** @param signal aborts when the client is gone. @throws DataStreamError; nothing is left behind then. */
  open(request: StreamRequest, signal: AbortSignal): Promise<OpenedStream>;
  describe(request: StreamRequest): Promise<StreamDescription>;
}

type State = "idle" | "opening" | "attaching" | "streaming" | "over";

/** One client's stream, message by message: docs/formats/handoff-v1.md. */
export class HandoffSession implements HandoffHandler {
  readonly #connection: HandoffConnection;
  readonly #host: SessionHost;
  readonly #gone = new AbortController();
  readonly #held = new Map<number, ReadyBatch>();
  readonly #closed: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  #state: State = "idle";
  /** Descriptions and the stream, one after the other. */
  #work: Promise<void> = Promise.resolve();
  #stream: OpenedStream | undefined;
  #attachTimer: NodeJS.Timeout | undefined;
  /** When the consumer began to wait, or to work. */
  #since = 0;

  constructor(connection: HandoffConnection, host: SessionHost) {
    this.#connection = connection;
    this.#host = host;
    connection.send({
      type: "welcome",
      protocol: PROTOCOL_VERSION,
      version: host.version,
      pid: process.pid,
      backends: host.backends,
    });
  }

  message(message: ClientMessage): void {
    switch (message.type) {
      case "open":
      case "describe":
        if (this.#state !== "idle")
          throw invalidArgument("type", `${message.type} comes before the connection's one open.`);
        if (message.type === "describe") this.#then(() => this.#describe(message));
        else {
          this.#state = "opening";
          this.#then(() => this.#open(message));
        }
        return;
      case "attached":
        if (this.#state !== "attaching") throw invalidArgument("type", "attached answers opened, once.");
        this.#state = "streaming";
        clearTimeout(this.#attachTimer);
        this.#then(() => this.#run(message.handles));
        return;
      case "release":
        this.#release(message);
        return;
      case "paths":
        this.#connection.send({
          type: "paths",
          lease: message.lease,
          paths: this.#heldBatch(message.lease).batch.paths,
        });
        return;
      case "close":
        this.#connection.close();
    }
  }

  /** The client is gone. Resolves when everything it had is free again. */
  ended(): Promise<void> {
    this.#state = "over";
    clearTimeout(this.#attachTimer);
    this.#gone.abort(new DataStreamError("canceled", "The client is gone."));
    this.#closed.resolve(this.#stop());
    return this.#closed.promise;
  }

  /** The companion is stopping: a client without a stream has nothing to wait for. */
  drain(): void {
    if (this.#state === "idle") this.#connection.end();
  }

  /** The client is gone, and everything it had is free again. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  async #stop(): Promise<void> {
    try {
      await this.#stream?.pipeline.close();
      // An open that was under way finds the signal aborted, and closes what it opened.
      await this.#work;
      await this.#stream?.pipeline.close();
    } catch (error) {
      // A driver that refuses: what can be freed is.
      this.#stream?.failed(error);
    }
    this.#stream?.closed();
  }

  /** Works in the order of the messages; a failure is told, and ends the stream. */
  #then(work: () => Promise<void>): void {
    this.#work = this.#work.then(work).catch((error: unknown) => this.#fail(error));
  }

  async #describe(request: StreamRequest & { type: string }): Promise<void> {
    if (this.#state === "over") return;
    const description = await this.#host.describe(request);
    this.#connection.send({ type: "described", stream_id: request.stream_id ?? null, ...description });
  }

  async #open(request: StreamRequest): Promise<void> {
    if (this.#state === "over") return;
    const stream = await this.#host.open(request, this.#gone.signal);
    this.#stream = stream;
    const { pipeline, description, streamId, backend } = stream;
    const { ring } = pipeline;
    this.#connection.send({
      type: "opened",
      stream_id: streamId,
      ...description,
      backend,
      ring:
        ring?.attachment === undefined
          ? null
          : { ...ring.attachment, slots: ring.slots, slot_bytes: ring.slotBytes },
    });
    if (ring === undefined) {
      this.#state = "streaming";
      await this.#run(undefined);
      return;
    }
    // The client may be gone since.
    if (this.#gone.signal.aborted) return;
    this.#state = "attaching";
    this.#attachTimer = setTimeout(() => this.#fail(notAttached()), HANDOFF_ATTACH_MS);
  }

  async #run(handles: readonly string[] | undefined): Promise<void> {
    const { pipeline } = this.#stream as OpenedStream;
    await pipeline.attach(handles);
    this.#since = performance.now();
    for await (const ready of pipeline.batches()) {
      if (this.#held.size === 0) this.#stream?.consumer.dataReady(this.#lap());
      else this.#stream?.consumer.worked(this.#lap());
      this.#held.set(ready.lease.number, ready);
      this.#observeHeld();
      this.#announce(ready);
    }
    this.#connection.send({ type: "end" });
  }

  #announce({ lease, batch, tensors, errors }: ReadyBatch): void {
    this.#connection.send({
      type: "batch",
      lease: lease.number,
      slot: lease.index,
      index: batch.index,
      epoch: batch.epoch,
      total_batches: batch.totalBatches,
      is_last: batch.isLast,
      count: batch.indices.length,
      padded: batch.paddedItems,
      tensors,
      position: batch.position,
      errors,
    });
  }

  #release({ lease, slot, acknowledge = false, checkpoint = false }: ReleaseMessage): void {
    const ready = this.#heldBatch(lease);
    this.#stream?.pipeline.release(lease, slot);
    this.#held.delete(lease);
    if (acknowledge || checkpoint) ready.acknowledge(checkpoint);
    this.#stream?.consumer.worked(this.#lap());
    if (this.#held.size > 0) this.#stream?.consumer.dataReady(0);
    this.#observeHeld();
    if (this.#state === "over" && this.#held.size === 0) this.#connection.end();
  }

  /** @throws `invalid_argument` */
  #heldBatch(lease: number): ReadyBatch {
    const ready = this.#held.get(lease);
    if (ready === undefined)
      throw invalidArgument("lease", `${lease} is not held; a batch is released once.`);
    return ready;
  }

  #observeHeld(): void {
    const { consumer, pipeline } = this.#stream as OpenedStream;
    consumer.holds(this.#held.size, pipeline.ring?.slots ?? 0);
  }

  /** Seconds since the consumer last began to wait or to work. */
  #lap(): number {
    const now = performance.now();
    const seconds = (now - this.#since) / 1000;
    this.#since = now;
    return seconds;
  }

  /** What the client holds stays its own: it may use and release that before it closes. */
  #fail(error: unknown): void {
    if (this.#gone.signal.aborted) return;
    this.#state = "over";
    clearTimeout(this.#attachTimer);
    this.#connection.sendError(error);
    this.#stream?.failed(error);
    if (this.#held.size === 0) this.#connection.end();
  }
}

function notAttached(): DataStreamError {
  return new DataStreamError(
    "aborted",
    `The ring was not attached within ${HANDOFF_ATTACH_MS / 1000} seconds.`,
    { details: { limit: HANDOFF_ATTACH_MS } },
  );
}

/** The Durable Object of one stream: control plane only, the batches never pass through it. */
import { DurableObject } from "cloudflare:workers";
import { DataStreamError, type ErrorCode, type ErrorDetails } from "../core/errors.ts";
import { STREAM_SESSION_IDLE_MS } from "../core/limits.ts";
import {
  acknowledge,
  attach,
  recordWindow,
  type Acknowledgement,
  type AttachRequest,
  type Attachment,
  type WindowRecord,
} from "../core/stream/session.ts";
import { SqliteSessionRecords } from "./session-storage.ts";

/** Errors lose their class on the way out of an object, so they travel as values. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | {
      readonly ok: false;
      readonly error: { readonly code: ErrorCode; readonly message: string; readonly details: ErrorDetails };
    };

/**
 * Named by (issuing user, dataset version, stream id). Everything it knows is in its SQLite database, so it may
 * be evicted between any two calls. A stream that nobody attached to for `STREAM_SESSION_IDLE_MS` is forgotten.
 */
export class StreamSession extends DurableObject {
  readonly #records: SqliteSessionRecords;

  constructor(state: DurableObjectState, env: Cloudflare.Env) {
    super(state, env);
    this.#records = new SqliteSessionRecords(state.storage.sql);
  }

  async attach(request: AttachRequest): Promise<Outcome<Attachment>> {
    const outcome = this.#run(() => attach(this.#records, request));
    if (outcome.ok) await this.ctx.storage.setAlarm(Date.now() + STREAM_SESSION_IDLE_MS);
    return outcome;
  }

  /** See `recordWindow`. */
  record(window: WindowRecord): Outcome<null> {
    return this.#run(() => {
      recordWindow(this.#records, window);
      return null;
    });
  }

  /** See `acknowledge`. */
  acknowledge(acknowledgement: Acknowledgement): Outcome<number> {
    return this.#run(() => acknowledge(this.#records, acknowledgement));
  }

  override async alarm(): Promise<void> {
    await this.ctx.storage.deleteAll();
    this.#records.createTables();
  }

  #run<T>(transition: () => T): Outcome<T> {
    try {
      return { ok: true, value: this.ctx.storage.transactionSync(transition) };
    } catch (thrown) {
      if (!(thrown instanceof DataStreamError)) throw thrown;
      const { code, message, details } = thrown;
      return { ok: false, error: { code, message, details } };
    }
  }
}

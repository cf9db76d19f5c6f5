/** The Durable Object of one stream: control plane only, the batches never pass through it. */
import { DurableObject } from "cloudflare:workers";
import { DataStreamError, type ErrorCode, type ErrorDetails } from "../core/errors.ts";
import { RECEIPT_MAX_LEASES, RECEIPT_RETRY_MS } from "../core/limits.ts";
import {
  acknowledge,
  attach,
  recordWindow,
  type Acknowledgement,
  type AttachRequest,
  type Attachment,
  type WindowRecord,
} from "../core/stream/session.ts";
import { sessionReceipt, type SessionReceipt } from "../core/stream/receipt.ts";
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
 * be evicted between any two calls. A stream that nobody used for `idleMs` is forgotten once its receipt is kept.
 */
export abstract class StreamSessionObject<Env = Cloudflare.Env> extends DurableObject<Env> {
  readonly #records: SqliteSessionRecords;
  /** Counts what happened to the session since the object was loaded. */
  #changes = 0;

  constructor(state: DurableObjectState, env: Env) {
    super(state, env);
    this.#records = new SqliteSessionRecords(state.storage.sql);
  }

  /** How long after its last use a session is forgotten. */
  protected abstract get idleMs(): number;

  /** Keeps a receipt where it outlives the session. Keeping a later one of the same session replaces it. */
  protected abstract keepReceipt(receipt: SessionReceipt): Promise<void>;

  /** The first creates the session, if it succeeds; whatever else names a session that nobody attached to leaves none. */
  async attach(request: AttachRequest): Promise<Outcome<Attachment>> {
    const outcome = this.#run(() => attach(this.#records, request));
    if (outcome.ok) await this.ctx.storage.setAlarm(Date.now() + this.idleMs);
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

  /** The receipt as of now; undefined for a session that nobody attached to, or that is forgotten. */
  receipt(): Outcome<SessionReceipt | undefined> {
    return { ok: true, value: this.#receipt() };
  }

  override async alarm(): Promise<void> {
    const { storage } = this.ctx;
    if (!this.#records.exist() || this.#records.leaseCount() === 0) return storage.deleteAll();
    // Acknowledgements set no alarm of their own.
    const idleAt = (this.#records.lastUsedAt() ?? 0) + this.idleMs;
    if (Date.now() < idleAt) return storage.setAlarm(idleAt);
    const changes = this.#changes;
    try {
      const receipt = this.#receipt();
      if (receipt !== undefined) await this.keepReceipt(receipt);
    } catch {
      return storage.setAlarm(Date.now() + RECEIPT_RETRY_MS);
    }
    // Somebody came while the receipt was kept: the session lives on.
    if (this.#changes !== changes) return storage.setAlarm(Date.now() + this.idleMs);
    await storage.deleteAll();
  }

  #receipt(): SessionReceipt | undefined {
    if (!this.#records.exist() || this.#records.leaseCount() === 0) return undefined;
    return sessionReceipt(this.#records, RECEIPT_MAX_LEASES);
  }

  /** A transition that throws changes nothing, so that one on an unknown session takes its tables back with it. */
  #run<T>(transition: () => T): Outcome<T> {
    this.#changes++;
    try {
      const value = this.ctx.storage.transactionSync(() => {
        if (!this.#records.exist()) this.#records.createTables();
        return transition();
      });
      return { ok: true, value };
    } catch (thrown) {
      if (!(thrown instanceof DataStreamError)) throw thrown;
      const { code, message, details } = thrown;
      return { ok: false, error: { code, message, details } };
    }
  }
}

/**
 * Who has which slot of a ring: free → filling → ready → held → free. Pure bookkeeping; the bytes are the ring's.
 *
 * Every loan has a number that is never used again, and a consumer must name it to release the slot: a message about
 * an older loan, from a confused or malicious consumer, can therefore not free a slot that is being filled again.
 */
import { DataStreamError, invalidArgument } from "../../core/errors.ts";

type State = "filling" | "ready" | "held";

/** A slot on loan. */
export interface SlotLease {
  /** Of the slot in its ring. */
  readonly index: number;
  /** Of the loan: greater than that of every earlier one. */
  readonly number: number;
  /** The slot is filled and visible to the consumer; nobody writes to it any more. */
  ready(): void;
  /** The consumer has been told: from now on `Slots.release` takes it back. */
  handOver(): void;
  /** Gives the slot back, in whatever state; a second call has no effect. */
  release(): void;
}

interface Loan {
  readonly index: number;
  state: State;
}

interface Waiter {
  readonly resolve: (lease: SlotLease) => void;
  readonly reject: (error: Error) => void;
}

export class Slots {
  readonly count: number;
  readonly #free: number[];
  readonly #loans = new Map<number, Loan>();
  readonly #waiting = new Set<Waiter>();
  #lastNumber = 0;
  #closed: PromiseWithResolvers<void> | undefined;

  constructor(count: number) {
    if (!Number.isInteger(count) || count < 1)
      throw invalidArgument("slots", "must be a whole number of at least 1.");
    this.count = count;
    // Lowest first, so that a stream which needs few slots touches little memory.
    this.#free = Array.from({ length: count }, (_, i) => count - 1 - i);
  }

  get free(): number {
    return this.#free.length;
  }

  get filling(): number {
    return this.#inState("filling");
  }

  get ready(): number {
    return this.#inState("ready");
  }

  /** Slots that the consumer has. When it is `count`, the stream stands still until one is released. */
  get held(): number {
    return this.#inState("held");
  }

  /**
   * Waits for a free slot, first come, first served.
   * @throws `canceled` when closed; the signal's reason when aborted.
   */
  acquire(signal?: AbortSignal): Promise<SlotLease> {
    if (this.#closed !== undefined) return Promise.reject(closedError());
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error);
    const index = this.#free.pop();
    if (index !== undefined) return Promise.resolve(this.#lend(index));
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#waiting.delete(waiter);
        signal?.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        settle();
        reject(signal?.reason as Error);
      };
      const waiter: Waiter = {
        resolve: (lease) => (settle(), resolve(lease)),
        reject: (error) => (settle(), reject(error)),
      };
      this.#waiting.add(waiter);
      signal?.addEventListener("abort", onAbort);
    });
  }

  /**
   * The consumer gives back what was handed over to it.
   * @throws `invalid_argument` for a loan that it does not hold: unknown, of another slot, not announced, or over.
   */
  release(number: number, index: number): void {
    const loan = this.#loans.get(number);
    if (loan === undefined || loan.index !== index || loan.state !== "held") {
      throw invalidArgument("lease", `${number} does not hold slot ${index}; a slot is released once.`, {
        lease: number,
        slot: index,
      });
    }
    this.#giveBack(number);
  }

  /**
   * Ends the loans of a consumer that is gone, fails whoever waits, and resolves when nothing is being filled any
   * more: only then may the ring's memory go away. Idempotent.
   */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = Promise.withResolvers<void>();
      for (const waiter of this.#waiting) waiter.reject(closedError());
      for (const [number, { state }] of this.#loans) if (state !== "filling") this.#giveBack(number);
      this.#settleClose();
    }
    return this.#closed.promise;
  }

  #lend(index: number): SlotLease {
    const number = ++this.#lastNumber;
    this.#loans.set(number, { index, state: "filling" });
    return {
      index,
      number,
      ready: () => this.#step(number, "filling", "ready"),
      handOver: () => this.#step(number, "ready", "held"),
      release: () => this.#giveBack(number),
    };
  }

  #step(number: number, from: State, to: State): void {
    const loan = this.#loans.get(number);
    // The consumer may be gone meanwhile; then there is nobody to hand over to.
    if (loan === undefined && this.#closed !== undefined) return;
    if (loan?.state !== from)
      throw new Error(`A slot cannot become ${to}: it is ${loan?.state ?? "free"}, not ${from}.`);
    loan.state = to;
    if (this.#closed !== undefined) this.#giveBack(number);
  }

  #giveBack(number: number): void {
    const loan = this.#loans.get(number);
    if (loan === undefined) return;
    this.#loans.delete(number);
    const next = this.#waiting.values().next().value;
    if (next !== undefined) next.resolve(this.#lend(loan.index));
    else this.#free.push(loan.index);
    this.#settleClose();
  }

  #settleClose(): void {
    if (this.#loans.size === 0) this.#closed?.resolve();
  }

  #inState(state: State): number {
    let count = 0;
    for (const loan of this.#loans.values()) if (loan.state === state) count++;
    return count;
  }
}

function closedError(): DataStreamError {
  return new DataStreamError("canceled", "The stream was closed.");
}

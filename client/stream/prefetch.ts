/**
 * Runs a generator ahead of its consumer by at most `ahead` values. The generator's error is
 * thrown after the values that came before it were consumed.
 */
export class Prefetch<T> implements AsyncIterable<T> {
  readonly #source: AsyncGenerator<T, void, undefined>;
  readonly #ahead: number;
  readonly #drop: ((value: T) => void) | undefined;
  readonly #ready: T[] = [];
  #ended: { error?: unknown } | undefined;
  #closed = false;
  #wakeConsumer: (() => void) | undefined;
  #wakeProducer: (() => void) | undefined;
  #producing: Promise<void> | undefined;

  /** @param drop takes each value that the consumer never got, when that is certain. */
  constructor(source: AsyncGenerator<T, void, undefined>, ahead: number, drop?: (value: T) => void) {
    this.#source = source;
    this.#drop = drop;
    this.#ahead = Math.max(1, ahead);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    this.#producing ??= this.#produce();
    for (;;) {
      while (this.#ready.length === 0 && this.#ended === undefined) {
        await new Promise<void>((resolve) => {
          this.#wakeConsumer = resolve;
        });
      }
      if (this.#ready.length === 0) {
        if (this.#ended !== undefined && "error" in this.#ended) throw this.#ended.error;
        return;
      }
      const value = this.#ready.shift() as T;
      this.#wakeProducer?.();
      yield value;
    }
  }

  /** Ends the generator and waits until its clean-up is done. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wakeProducer?.();
    await this.#producing;
    for (const value of this.#ready.splice(0)) this.#drop?.(value);
    await this.#source.return().catch(() => undefined);
  }

  async #produce(): Promise<void> {
    try {
      while (!this.#closed) {
        const next = await this.#source.next();
        if (next.done === true) break;
        this.#ready.push(next.value);
        this.#wakeConsumer?.();
        while (this.#ready.length >= this.#ahead && !this.#closed) {
          await new Promise<void>((resolve) => {
            this.#wakeProducer = resolve;
          });
        }
      }
      this.#ended = {};
    } catch (error) {
      this.#ended = { error };
    }
    this.#wakeConsumer?.();
  }
}

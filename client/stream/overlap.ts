import { Prefetch } from "./prefetch.ts";

export interface OverlapOptions<T> {
  /** Works that run at once at most. */
  readonly width: number;
  /** Takes a value that is not yielded: work on it is over, or never began. */
  readonly drop: (value: T) => void;
}

/**
 * Does some work on each value of a generator, on several at once while further ones are awaited, and yields them in
 * their order as their work is done. An error of the generator or of a work is thrown when all before it was yielded.
 */
export async function* overlapped<T>(
  source: AsyncGenerator<T, void, undefined>,
  work: (value: T) => Promise<void>,
  { width, drop }: OverlapOptions<T>,
): AsyncGenerator<T, void, undefined> {
  const begin = (value: T): Started<T> => {
    const done = work(value);
    const ended = done.catch(() => undefined);
    return { value, done, ended };
  };
  const started = width === 1 ? undefined : new Prefetch(eachBegun(source, begin), width - 1, dropStarted);
  const abandoned: Promise<void>[] = [];
  function dropStarted({ value, ended }: Started<T>): void {
    abandoned.push(ended.then(() => drop(value)));
  }
  try {
    for await (const each of started ?? eachBegun(source, begin)) {
      try {
        await each.done;
      } catch (error) {
        drop(each.value);
        throw error;
      }
      yield each.value;
    }
  } finally {
    await started?.close();
    await Promise.all(abandoned);
  }
}

interface Started<T> {
  readonly value: T;
  readonly done: Promise<void>;
  /** Never rejects. */
  readonly ended: Promise<void>;
}

async function* eachBegun<T>(
  source: AsyncGenerator<T, void, undefined>,
  begin: (value: T) => Started<T>,
): AsyncGenerator<Started<T>, void, undefined> {
  for await (const value of source) yield begin(value);
}

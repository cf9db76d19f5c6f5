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
export function overlapped<T>(
  source: AsyncGenerator<T, void, undefined>,
  work: (value: T) => Promise<void>,
  { width, drop }: OverlapOptions<T>,
): AsyncGenerator<T, void, undefined> {
  return width === 1 ? oneByOne(source, work, drop) : severalAtOnce(source, work, width, drop);
}

async function* oneByOne<T>(
  source: AsyncGenerator<T, void, undefined>,
  work: (value: T) => Promise<void>,
  drop: (value: T) => void,
): AsyncGenerator<T, void, undefined> {
  for await (const value of source) {
    try {
      await work(value);
    } catch (error) {
      drop(value);
      throw error;
    }
    yield value;
  }
}

interface Started<T> {
  readonly value: T;
  readonly done: Promise<void>;
  /** Never rejects. */
  readonly ended: Promise<void>;
}

async function* severalAtOnce<T>(
  source: AsyncGenerator<T, void, undefined>,
  work: (value: T) => Promise<void>,
  width: number,
  drop: (value: T) => void,
): AsyncGenerator<T, void, undefined> {
  const abandoned: Promise<void>[] = [];
  const started = new Prefetch(eachStarted(source, work), width - 1, ({ value, ended }) => {
    abandoned.push(ended.then(() => drop(value)));
  });
  try {
    for await (const { value, done } of started) {
      try {
        await done;
      } catch (error) {
        drop(value);
        throw error;
      }
      yield value;
    }
  } finally {
    await started.close();
    await Promise.all(abandoned);
  }
}

async function* eachStarted<T>(
  source: AsyncGenerator<T, void, undefined>,
  work: (value: T) => Promise<void>,
): AsyncGenerator<Started<T>, void, undefined> {
  for await (const value of source) {
    const done = work(value);
    yield { value, done, ended: done.catch(() => undefined) };
  }
}

import { DataStreamError } from "../core/errors.ts";
import { UPLOAD_STALL_MS } from "../core/limits.ts";

/** Bytes that arrive in pieces of any size. */
export interface ByteSource {
  /** Fills `into` from its start; less than all of it only where the bytes end. */
  readInto(into: Uint8Array): Promise<number>;
}

/** Hands out the next piece, undefined at the end. */
export type PullPiece = () => Promise<Uint8Array | undefined>;

export class PieceSource implements ByteSource {
  readonly #pull: PullPiece;
  #piece: Uint8Array = new Uint8Array();

  constructor(pull: PullPiece) {
    this.#pull = pull;
  }

  async readInto(into: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < into.length) {
      if (this.#piece.length === 0) {
        const next = await this.#pull();
        if (next === undefined) break;
        this.#piece = next;
      }
      const taken = this.#piece.subarray(0, into.length - filled);
      into.set(taken, filled);
      filled += taken.length;
      this.#piece = this.#piece.subarray(taken.length);
    }
    return filled;
  }
}

/**
 * Pieces of a request body. `pull` throws `canceled` when the body breaks off, because its sender went away, and when
 * nothing arrives for `UPLOAD_STALL_MS`, because whoever sends it holds memory meanwhile.
 */
export function bodyPieces(body: ReadableStream<Uint8Array>): {
  pull: PullPiece;
  cancel(reason: unknown): Promise<void>;
} {
  const reader = body.getReader();
  return {
    async pull() {
      const stall = stallTimer();
      try {
        const { done, value } = await Promise.race([reader.read(), stall.expired]);
        return done ? undefined : value;
      } catch (error) {
        throw new DataStreamError("canceled", "The request's body ended early. Send the part again.", {
          cause: error,
        });
      } finally {
        stall.clear();
      }
    },
    cancel: (reason) => reader.cancel(reason).catch(() => undefined),
  };
}

function stallTimer(): { readonly expired: Promise<never>; clear(): void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new RangeError("The body stalled.")), UPLOAD_STALL_MS);
  });
  return { expired, clear: () => clearTimeout(timer) };
}

/** Pieces of bytes in memory or of an iterable. */
export function iterablePieces(bytes: AsyncIterable<Uint8Array> | Uint8Array): PullPiece {
  if (bytes instanceof Uint8Array) {
    let rest: Uint8Array | undefined = bytes;
    return () => {
      const piece = rest;
      rest = undefined;
      return Promise.resolve(piece);
    };
  }
  const iterator = bytes[Symbol.asyncIterator]();
  return async () => {
    const { done, value } = await iterator.next();
    return done === true ? undefined : value;
  };
}

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { concatBytes } from "../../core/bytes.ts";
import { UPLOAD_STALL_MS } from "../../core/limits.ts";
import { bodyPieces, iterablePieces, PieceSource } from "../../storage/byte-source.ts";
import { patterned } from "./fixture.ts";

test("pieces of any sizes fill buffers of any sizes, in order and without loss", async () => {
  const sizes = fc.array(fc.nat(50), { maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(sizes, fc.array(fc.nat(80), { maxLength: 20 }), async (pieces, buffers) => {
      const bytes = patterned(pieces.reduce((sum, size) => sum + size, 0));
      const source = new PieceSource(
        iterablePieces(
          (async function* () {
            let at = 0;
            for (const size of pieces) yield bytes.subarray(at, (at += size));
          })(),
        ),
      );
      const filled: Uint8Array[] = [];
      let left = bytes.length;
      for (const size of [...buffers, bytes.length, 1]) {
        const into = new Uint8Array(size);
        const length = await source.readInto(into);
        expect(length).toBe(Math.min(size, left));
        left -= length;
        filled.push(into.subarray(0, length));
      }
      expect(concatBytes(filled)).toEqual(bytes);
    }),
  );
});

describe("a body", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("that stalls is cancelled", async () => {
    const { pull } = bodyPieces(new ReadableStream<Uint8Array>());
    const pulled = pull().catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(UPLOAD_STALL_MS);
    expect(await pulled).toMatchObject({ code: "canceled" });
  });

  test("that comes slowly may take as long as it likes", async () => {
    let pieces = 3;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) =>
        new Promise((resolve) =>
          setTimeout(() => {
            if (pieces-- > 0) controller.enqueue(patterned(5));
            else controller.close();
            resolve();
          }, UPLOAD_STALL_MS - 1),
        ),
    });
    const source = new PieceSource(bodyPieces(body).pull);
    const filled = source.readInto(new Uint8Array(20));
    await vi.advanceTimersByTimeAsync(10 * UPLOAD_STALL_MS);
    expect(await filled).toBe(15);
    expect(vi.getTimerCount()).toBe(0);
  });
});

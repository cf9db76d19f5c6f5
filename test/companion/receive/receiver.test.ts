import { toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { StreamEnd } from "../../../client/stream/frames.ts";
import { BatchReceiver } from "../../../companion/receive/batch-receiver.ts";
import { ResponseReader, type ResponseHead } from "../../../companion/receive/http-response.ts";
import { MessagePool } from "../../../companion/receive/message-pool.ts";
import { messageBuffer, releaseMessage } from "../../../companion/receive/messages.ts";
import { concatBytes } from "../../../core/bytes.ts";
import { DataStreamError } from "../../../core/errors.ts";
import { utf8 } from "../../../core/text.ts";
import { BatchResponseSchema, type BatchResponse } from "../../../proto/index.ts";
import { answer, anyBatch, cut, detached, END, endWith, envelope, streamBody, type Framing } from "./wire.ts";

interface Outcome {
  readonly head: ResponseHead | undefined;
  readonly messages: readonly BatchResponse[];
  readonly end: StreamEnd | undefined;
  readonly error: unknown;
  /** Memory that was not given back. */
  readonly leaked: number;
}

/**
 * Plays the socket: hands over the pieces, waits when the receiver does not take one, and ends. The consumer holds
 * `held` messages back, so that with a small pool the receiver has to wait for it.
 */
async function receive(
  pieces: Iterable<Uint8Array>,
  { poolBytes = 1 << 24, held = 0 } = {},
): Promise<Outcome> {
  const pool = new MessagePool(poolBytes);
  let head: ResponseHead | undefined;
  let wake = (): void => undefined;
  const receiver = new BatchReceiver(pool, { resume: () => wake(), close: () => undefined });
  const reader = new ResponseReader({
    head: (value) => (head = value),
    body: (bytes) => receiver.take(bytes),
  });
  const consumed = (async (): Promise<Omit<Outcome, "head" | "leaked">> => {
    const [messages, kept]: [BatchResponse[], BatchResponse[]] = [[], []];
    try {
      for (;;) {
        const next = await receiver.next();
        if (next.done === true) return { messages, end: next.value, error: undefined };
        expect(toBinary(BatchResponseSchema, next.value).length).toBeLessThanOrEqual(
          messageBuffer(next.value).bytes.length,
        );
        messages.push(detached(next.value));
        kept.push(next.value);
        if (kept.length > held) releaseMessage(kept.shift() as BatchResponse);
      }
    } catch (error) {
      return { messages, end: undefined, error };
    } finally {
      for (const message of kept) releaseMessage(message);
    }
  })();
  try {
    for (const piece of pieces) {
      // The socket uses its buffer again.
      const buffer = piece.slice();
      for (let at = 0; at < buffer.length && !reader.done;) {
        const woken = new Promise<void>((resolve) => (wake = resolve));
        at += reader.push(buffer.subarray(at));
        if (at < buffer.length && !reader.done) await woken;
      }
      buffer.fill(0xee);
    }
    reader.end();
    receiver.end();
  } catch (error) {
    receiver.fail(error as DataStreamError);
  }
  const outcome = await consumed;
  receiver.close();
  return { ...outcome, head, leaked: pool.heldBytes };
}

const framing: fc.Arbitrary<Framing> = fc.oneof(
  fc.constant({ by: "length" } as const),
  fc.constant({ by: "close" } as const),
  fc.record({
    by: fc.constant("chunks" as const),
    sizes: fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 5 }),
    extension: fc.constantFrom("", ";name", ' ; name="value"'),
    trailer: fc.constantFrom("", "checksum: 1\r\n", "a: 1\r\nb:2\r\n"),
  }),
);
const sizes = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 6 });
const interim = fc.constantFrom(
  "",
  "HTTP/1.1 100 Continue\r\n\r\n",
  "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
);

test("messages come out whole, however the answer is framed and cut, and however little memory there is", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyBatch, { maxLength: 6 }),
      framing,
      sizes,
      interim,
      fc.nat({ max: 2 }),
      async (batches, framed, cuts, before, held) => {
        const bytes = concatBytes([utf8(before), answer(streamBody(batches), framed)]);
        // Three buffers: the consumer holds two, and one is filled.
        const outcome = await receive(cut(bytes, cuts), { poolBytes: 3 * 64 * 1024, held });
        expect(outcome.error).toBeUndefined();
        expect(outcome.head?.status).toBe(200);
        expect(outcome.messages).toEqual(batches);
        expect(outcome.end).toEqual({ continuation: undefined });
        expect(outcome.leaked).toBe(0);
      },
    ),
  );
});

test("a cut anywhere ends the stream as unavailable, after the messages that came whole", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyBatch, { maxLength: 4 }),
      framing,
      fc.nat(),
      async (batches, framed, length) => {
        const body = streamBody(batches);
        const whole = answer(body, framed);
        const upTo = length % whole.length;
        const outcome = await receive(cut(whole.subarray(0, upTo), [97]));
        const complete = outcome.end !== undefined;
        // What follows the last envelope carries nothing.
        if (complete) expect(outcome.messages).toEqual(batches);
        else expect(outcome.error).toMatchObject({ code: "unavailable" });
        expect(outcome.messages).toEqual(batches.slice(0, outcome.messages.length));
        expect(outcome.leaked).toBe(0);
      },
    ),
  );
});

test("any bytes give messages, or data_loss or unavailable", async () => {
  const change = fc.record({ at: fc.nat(), value: fc.nat({ max: 255 }) });
  const damaged = fc
    .tuple(fc.array(anyBatch, { maxLength: 3 }), framing, fc.array(change, { minLength: 1, maxLength: 6 }))
    .map(([batches, framed, changes]) => {
      const bytes = answer(streamBody(batches), framed);
      for (const { at, value } of changes) bytes[at % bytes.length] = value;
      return bytes;
    });
  const afterHead = fc.uint8Array({ maxLength: 60 }).map((body) => answer(body, { by: "close" }));
  const anything = fc.oneof(damaged, damaged, afterHead, fc.uint8Array({ maxLength: 200 }));
  await fc.assert(
    fc.asyncProperty(anything, sizes, async (bytes, cuts) => {
      const outcome = await receive(cut(bytes, cuts));
      if (outcome.error !== undefined) {
        expect(outcome.error).toBeInstanceOf(DataStreamError);
        expect((outcome.error as DataStreamError).code).toMatch(/data_loss|unavailable/);
      }
      expect(outcome.leaked).toBe(0);
    }),
    { numRuns: 2_000 },
  );
});

describe("envelopes", () => {
  const body = (...parts: readonly Uint8Array[]): Uint8Array[] => [
    answer(concatBytes(parts), { by: "close" }),
  ];

  test("the gateway's error and continuation come with the end", async () => {
    const error = { code: "permission_denied", message: "The token was revoked." };
    expect((await receive(body(endWith({ error })))).error).toMatchObject(error);
    const metadata = { "cyxcloud-continuation": ["17"] };
    expect((await receive(body(endWith({ metadata })))).end).toEqual({ continuation: 17 });
  });

  test.each([
    ["is compressed", envelope(1, new Uint8Array(3))],
    ["has an unknown flag", envelope(4, new Uint8Array(3))],
    ["is larger than any batch", Uint8Array.of(0, 0xff, 0xff, 0xff, 0xff)],
    ["is an end larger than any end", Uint8Array.of(2, 0, 0xff, 0xff, 0xff)],
    ["is an end that is no JSON", envelope(2, utf8("<html>"))],
    ["is an end that is no object", envelope(2, utf8("null"))],
    ["is an end with a malformed continuation", endWith({ metadata: { "cyxcloud-continuation": ["-1"] } })],
  ])("one that %s is refused", async (_name, bytes) => {
    expect((await receive(body(bytes, END))).error).toMatchObject({ code: "unavailable" });
  });

  test("a message that is no batch is data_loss, and gives its memory back", async () => {
    const outcome = await receive(body(envelope(0, Uint8Array.of(0xff)), END));
    expect(outcome.error).toMatchObject({ code: "data_loss" });
    expect(outcome.leaked).toBe(0);
  });
});

describe("an answer that is not understood is refused", () => {
  const raw = (text: string): Uint8Array[] => [Uint8Array.from(text, (c) => c.charCodeAt(0))];
  const ok = "HTTP/1.1 200 OK\r\n";

  test.each([
    ["HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n"],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\n"],
    ["no HTTP", "220 mail.example.com ESMTP\r\n"],
    ["lines without carriage return", "HTTP/1.1 200 OK\n\n"],
    ["a bare carriage return", `${ok}a: b\rc\r\n\r\n`],
    ["a NUL", `${ok}a: b\0\r\n\r\n`],
    ["a folded header", `${ok}a: b\r\n c\r\n\r\n`],
    ["a blank before the colon", `${ok}content-length : 5\r\n\r\n`],
    ["a header without name", `${ok}: 5\r\n\r\n`],
    ["a header without colon", `${ok}content-length\r\n\r\n`],
    ["two lengths", `${ok}content-length: 5\r\ncontent-length: 6\r\n\r\n`],
    ["a negative length", `${ok}content-length: -5\r\n\r\n`],
    ["a length and chunks", `${ok}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n`],
    ["another coding", `${ok}transfer-encoding: gzip, chunked\r\n\r\n`],
    ["chunked twice", `${ok}transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n`],
    ["a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\n\r\n"],
    ["a chunk of no number", `${ok}transfer-encoding: chunked\r\n\r\nx\r\n`],
    ["a chunk of 2^56 bytes", `${ok}transfer-encoding: chunked\r\n\r\n100000000000000\r\n`],
    ["a negative chunk", `${ok}transfer-encoding: chunked\r\n\r\n-1\r\n`],
    ["a chunk longer than it says", `${ok}transfer-encoding: chunked\r\n\r\n1\r\n\0\0\r\n`],
    ["endless headers", `${ok}${"a: b\r\n".repeat(300)}\r\n`],
    ["an endless header", `${ok}a: ${" ".repeat(70_000)}`],
    ["endless interim answers", "HTTP/1.1 100 Continue\r\n\r\n".repeat(3_000)],
    ["endless trailers", `${ok}transfer-encoding: chunked\r\n\r\n0\r\n${"a: b\r\n".repeat(300)}\r\n`],
  ])("%s", async (_name, text) => {
    for (const size of [1, 1e6]) {
      const { error } = await receive(raw(text).flatMap((bytes) => [...cut(bytes, [size])]));
      expect(error).toMatchObject({ code: "unavailable" });
      expect((error as DataStreamError).message).not.toContain("ended");
    }
  });

  test("any number of chunks is no long head", async () => {
    const bytes = answer(concatBytes([envelope(0, new Uint8Array(0)), END]), {
      by: "chunks",
      sizes: [1],
      extension: `;${"x".repeat(30_000)}`,
      trailer: "",
    });
    expect((await receive([bytes])).messages).toHaveLength(1);
  });
});

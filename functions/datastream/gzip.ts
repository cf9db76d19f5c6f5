/** gzip of request messages, by the platform's own streams. Answers are never compressed: batches are noise already. */
import { Code, ConnectError } from "@connectrpc/connect";
import type { Compression } from "@connectrpc/connect/protocol";
import { concatBytes } from "../../core/bytes.ts";
import { invalidArgument } from "../../core/errors.ts";
import { SERVICE_BODY_MAX_BYTES } from "../../core/limits.ts";
import { toConnectError } from "./connect-error.ts";

export const gzip: Compression = {
  name: "gzip",
  compress() {
    return Promise.reject(new ConnectError("Answers are not compressed.", Code.Internal));
  },
  async decompress(bytes, maxBytes) {
    try {
      return await gunzip(bytes as Uint8Array<ArrayBuffer>, maxBytes);
    } catch (thrown) {
      throw toConnectError(thrown);
    }
  },
};

/** @throws `invalid_argument` for what is not gzip, or is too large unpacked. */
export async function gunzip(
  bytes: Uint8Array<ArrayBuffer>,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await readBounded(
      new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")),
      maxBytes,
    );
  } catch (error) {
    if (error instanceof TypeError) throw invalidArgument("body", "is not what gzip makes.");
    throw error;
  }
}

/** @throws `invalid_argument` as soon as there is more than `maxBytes`. */
export async function readBounded(
  stream: ReadableStream<Uint8Array> | null,
  maxBytes: number = SERVICE_BODY_MAX_BYTES,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of stream ?? []) {
    length += part.length;
    if (length > maxBytes)
      throw invalidArgument("body", `a request holds at most ${maxBytes} bytes.`, { limit: maxBytes });
    parts.push(part);
  }
  return concatBytes(parts);
}

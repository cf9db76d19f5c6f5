/** What tests of the pipeline stream from: a gateway double whose messages lie in shared memory. */
import { toBinary } from "@bufbuild/protobuf";
import { encode } from "fast-png";
import { DataStreamClient } from "../../client/client.ts";
import { fetchSource, type BatchMessages, type BatchSource } from "../../client/stream/source.ts";
import { adoptMessage, releaseMessage } from "../../companion/receive/messages.ts";
import { toHex } from "../../core/bytes.ts";
import { parseSchema, schemaHash, withClasses } from "../../core/dataset/schema.ts";
import type { Blake3 } from "../../core/ports.ts";
import { BatchResponseSchema, type BatchResponse } from "../../proto/index.ts";
import { describe, GatewayDouble, type DoubleFile } from "../client/double.ts";

export const SIDE = 4;
export const IMAGE_SCHEMA = { type: "image", format: "png", labels: "path" };

export const pixelsOf = (i: number): Uint8Array =>
  Uint8Array.from({ length: SIDE * SIDE }, (_, j) => (i * 17 + j) & 0xff);

/** Small images, all different, in two class folders. */
export function images(count: number): DoubleFile[] {
  return Array.from({ length: count }, (_, i) => ({
    path: `${i % 2 === 0 ? "even" : "odd"}/${String(i).padStart(3, "0")}.png`,
    bytes: encode({ width: SIDE, height: SIDE, data: pixelsOf(i), depth: 8, channels: 1 }),
  })).toSorted((left, right) => (left.path < right.path ? -1 : 1));
}

export interface DoubleSetup {
  readonly client: DataStreamClient;
  readonly double: GatewayDouble;
  readonly source: CountingSource;
}

export function setUp(
  files: readonly DoubleFile[],
  blake3: Blake3,
  schema: object = IMAGE_SCHEMA,
): DoubleSetup {
  const double = new GatewayDouble(files, blake3);
  const complete = withClasses(
    parseSchema(schema),
    files.map((file) => file.path),
  );
  double.version = describe(files, blake3, 1);
  double.version.info = {
    ...double.version.info,
    schema: complete,
    schema_hash: toHex(schemaHash(complete, blake3)),
  };
  const client = new DataStreamClient({
    gateway: "http://double.test",
    accessToken: "t",
    fetch: double.fetch,
  });
  return { double, client, source: new CountingSource() };
}

/** Messages over the client's fetch, copied into shared memory; counts those whose memory is out. */
export class CountingSource implements BatchSource {
  held = 0;
  received = 0;
  readonly discard: (message: BatchResponse) => void = releaseMessage;

  async open(...call: Parameters<BatchSource["open"]>): Promise<BatchMessages> {
    const messages = await fetchSource.open(...call);
    const next = messages.next.bind(messages);
    messages.next = async () => {
      const result = await next();
      if (result.done === true) return result;
      const bytes = toBinary(BatchResponseSchema, result.value);
      const buffer = new SharedArrayBuffer(bytes.byteLength);
      new Uint8Array(buffer).set(bytes);
      this.held += 1;
      this.received += 1;
      const release = (): void => void (this.held -= 1);
      return { done: false, value: adoptMessage({ buffer, release }, bytes.byteLength) };
    };
    return messages;
  }
}

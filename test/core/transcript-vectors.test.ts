import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { fromHex, toHex } from "../../core/bytes.ts";
import {
  parametersHash,
  parametersJson,
  parseParameters,
  type ParametersJson,
  type StreamParameters,
} from "../../core/stream/parameters.ts";
import { framedBatchHash, Transcript } from "../../core/stream/transcript.ts";
import { blake3 } from "./blake3.ts";

/** Written with another BLAKE3 and other code, for every implementation to reproduce. Hashes are hexadecimal. */
interface Vector {
  readonly parameters: ParametersJson;
  readonly parameters_hash: string;
  readonly epoch: number;
  readonly rank: number;
  readonly world_size: number;
  readonly start_index: number;
  readonly start_head: string;
  readonly batches: readonly {
    readonly items: readonly { readonly item: number; readonly size: number; readonly hash: string }[];
    readonly framed_hash: string;
    readonly head: string;
  }[];
}

const vectors = JSON.parse(
  readFileSync(new URL("../vectors/transcript-v1.json", import.meta.url), "utf8"),
) as readonly Vector[];

test("transcript v1 reproduces the shared vectors", () => {
  expect(vectors.length).toBeGreaterThan(2);
  for (const vector of vectors) {
    const parameters = parseParameters(vector.parameters) as StreamParameters;
    expect(parametersJson(parameters)).toEqual(vector.parameters);
    expect(toHex(parametersHash(parameters, blake3))).toBe(vector.parameters_hash);
    const { epoch, rank, world_size: worldSize, start_index: startIndex } = vector;
    const transcript = Transcript.start({ parameters, epoch, rank, worldSize, startIndex }, blake3);
    expect(toHex(transcript.head)).toBe(vector.start_head);
    for (const [index, batch] of vector.batches.entries()) {
      const hashes = batch.items.map(({ hash }) => fromHex(hash) as Uint8Array);
      const sizes = batch.items.map(({ size }) => size);
      expect(toHex(framedBatchHash(index, sizes, hashes, blake3))).toBe(batch.framed_hash);
      const head = transcript.advance(
        index,
        batch.items.map(({ item }) => item),
        hashes,
      );
      expect(toHex(head)).toBe(batch.head);
    }
  }
});

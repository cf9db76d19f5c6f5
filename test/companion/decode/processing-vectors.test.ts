import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { fromHex, toHex } from "../../../core/bytes.ts";
import { canonicalJson } from "../../../core/canonical-json.ts";
import { parseProcessing } from "../../../core/augment/processing.ts";
import { philox4x32, type RandomWords } from "../../../core/augment/random.ts";
import { requireTool } from "../../support/tools.ts";
import { decode } from "./decoding.ts";

const file = fileURLToPath(new URL("../../vectors/processing.json", import.meta.url));
const script = fileURLToPath(new URL("../../vectors/processing_v1.py", import.meta.url));

interface Vectors {
  readonly philox: readonly {
    readonly counter: RandomWords;
    readonly key: readonly [number, number];
    readonly words: RandomWords;
  }[];
  readonly images: readonly {
    readonly processing: unknown;
    readonly shape: readonly number[];
    readonly dtype: string;
    readonly seed: string;
    readonly epoch: number;
    readonly item: number;
    readonly data: string;
    readonly canonical: string;
    readonly result: { readonly shape: readonly number[]; readonly dtype: string; readonly data: string };
  }[];
}

const vectors = JSON.parse(readFileSync(file, "utf8")) as Vectors;

test("the generator gives the shared vectors, which are those of its authors", () => {
  for (const { counter, key, words } of vectors.philox) expect(philox4x32(counter, key)).toEqual(words);
});

test.each(vectors.images.map((vector, i) => ({ ...vector, name: `${i}: ${vector.canonical}` })))(
  "$name",
  ({ processing, shape, dtype, seed, epoch, item, data, canonical, result }) => {
    expect(canonicalJson(parseProcessing(processing))).toBe(canonical);
    const schema = { type: "image", format: "raw", shape, dtype };
    const key = { seed: BigInt(seed), epoch, itemIndex: item };
    const decoded = decode(schema, fromHex(data) as Uint8Array, processing, key);
    expect({ ...result, data: toHex(decoded.data) }).toEqual(result);
    expect(decoded.format).toMatchObject({ shape: result.shape, dtype: result.dtype });
  },
);

const python = requireTool("python3");
test.skipIf(!python)("the script that made the vectors still does (needs python3)", () => {
  execFileSync(python as string, [script, "check", file], { stdio: "pipe" });
});

/** The demo's input: real handwritten digits, written as one PNG file each. See data/README.md. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { encode } from "fast-png";

export const DIGIT_SIDE = 8;
export const DIGIT_PIXELS: number = DIGIT_SIDE * DIGIT_SIDE;
export const DIGIT_CLASSES = 10;

const DATA_FILE = join(import.meta.dirname, "data", "optical-digits.csv.gz");
const DATA_SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22";
/** Grey values run from 0 to 16; in the file they become 0 to 255. */
const GREY_MAX = 16;
/** Every fifth image is held out from training. */
const HELD_OUT_EVERY = 5;

/**
 * Writes every image as `train/CLASS/NUMBER.png` or `held-out/CLASS/NUMBER.png` below a folder.
 * @returns how many files there are of each.
 */
export function writeDigits(folder: string): { train: number; heldOut: number } {
  const packed = readFileSync(DATA_FILE);
  const sha256 = createHash("sha256").update(packed).digest("hex");
  if (sha256 !== DATA_SHA256) throw new Error(`${DATA_FILE} has SHA-256 ${sha256}, expected ${DATA_SHA256}.`);
  const lines = gunzipSync(packed).toString("utf8").trim().split("\n");
  const counts = { train: 0, heldOut: 0 };
  for (const [number, line] of lines.entries()) {
    const values = line.split(",").map(Number);
    const label = values[DIGIT_PIXELS] as number;
    const pixels = Uint8Array.from(values.slice(0, DIGIT_PIXELS), (grey) =>
      Math.round((grey * 255) / GREY_MAX),
    );
    const heldOut = number % HELD_OUT_EVERY === 0;
    const target = join(folder, heldOut ? "held-out" : "train", String(label));
    mkdirSync(target, { recursive: true });
    const png = encode({ width: DIGIT_SIDE, height: DIGIT_SIDE, data: pixels, depth: 8, channels: 1 });
    writeFileSync(join(target, `${String(number).padStart(4, "0")}.png`), png);
    counts[heldOut ? "heldOut" : "train"] += 1;
  }
  return counts;
}

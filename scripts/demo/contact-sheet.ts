/** A picture of one batch: every image with the label that the model gave it. */
import { encode } from "fast-png";

const TILE = 64;
const CAPTION = 28;
const GAP = 8;
const COLUMNS = 8;
const CHANNELS = 3;
const BACKGROUND = [24, 26, 31] as const;
const RIGHT = [110, 220, 140] as const;
const WRONG = [240, 95, 95] as const;

type Colour = readonly [red: number, green: number, blue: number];

/** Digits of 3 × 5 dots; a row is three bits. */
const GLYPHS = [
  [7, 5, 5, 5, 7],
  [2, 6, 2, 2, 7],
  [7, 1, 7, 4, 7],
  [7, 1, 7, 1, 7],
  [5, 5, 7, 1, 1],
  [7, 4, 7, 1, 7],
  [7, 4, 7, 5, 7],
  [7, 1, 2, 2, 2],
  [7, 5, 7, 5, 7],
  [7, 5, 7, 1, 7],
] as const;
const DOT = 4;

export interface ContactSheet {
  /** N × side × side grey values, one byte each. */
  readonly images: Uint8Array;
  readonly side: number;
  readonly labels: Int32Array;
  readonly predictions: Int32Array;
}

/** PNG bytes. The caption is the predicted label: green where it is right, red where it is not. */
export function contactSheet({ images, side, labels, predictions }: ContactSheet): Uint8Array {
  const rows = Math.ceil(labels.length / COLUMNS);
  const canvas = new Canvas(COLUMNS * (TILE + GAP) + GAP, rows * (TILE + CAPTION + GAP) + GAP);
  for (const [n, label] of labels.entries()) {
    const left = GAP + (n % COLUMNS) * (TILE + GAP);
    const top = GAP + Math.floor(n / COLUMNS) * (TILE + CAPTION + GAP);
    for (let y = 0; y < TILE; y++) {
      for (let x = 0; x < TILE; x++) {
        const pixel = Math.floor((y * side) / TILE) * side + Math.floor((x * side) / TILE);
        const grey = images[n * side * side + pixel] as number;
        canvas.set(left + x, top + y, [grey, grey, grey]);
      }
    }
    const prediction = predictions[n] as number;
    canvas.glyph(
      prediction,
      left + (TILE - 3 * DOT) / 2,
      top + TILE + 4,
      prediction === label ? RIGHT : WRONG,
    );
  }
  return canvas.png();
}

class Canvas {
  readonly #width: number;
  readonly #height: number;
  readonly #data: Uint8Array;

  constructor(width: number, height: number) {
    this.#width = width;
    this.#height = height;
    this.#data = new Uint8Array(width * height * CHANNELS);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) this.set(x, y, BACKGROUND);
  }

  set(x: number, y: number, colour: Colour): void {
    this.#data.set(colour, (y * this.#width + x) * CHANNELS);
  }

  glyph(digit: number, left: number, top: number, colour: Colour): void {
    for (const [row, bits] of (GLYPHS[digit] ?? []).entries()) {
      for (let column = 0; column < 3; column++) {
        if (((bits >> (2 - column)) & 1) === 0) continue;
        for (let y = 0; y < DOT; y++) {
          for (let x = 0; x < DOT; x++) this.set(left + column * DOT + x, top + row * DOT + y, colour);
        }
      }
    }
  }

  png(): Uint8Array {
    return encode({
      width: this.#width,
      height: this.#height,
      data: this.#data,
      depth: 8,
      channels: CHANNELS,
    });
  }
}

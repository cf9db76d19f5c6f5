import jpegTurbo from "@julusian/jpeg-turbo";

const QUALITY = 90;
const OCTAVES = [96, 40, 16, 6] as const;
const SHAPES = 14;
const GRAIN = 10;

/**
 * JPEG files that are as hard to decode as photographs: smooth shades on several scales, shapes with hard edges, and a
 * little grain; quality 90, colours at half resolution. They depend on `seed` alone. Of 500×375 pixels a file has about
 * 55 KB.
 */
export function photographs(count: number, width: number, height: number, seed: number): Uint8Array[] {
  const random = xorshift(seed);
  const { FORMAT_RGB: format, SAMP_420: subsampling } = jpegTurbo;
  return Array.from({ length: count }, () => {
    const raw = Buffer.from(photograph(width, height, random));
    return new Uint8Array(
      jpegTurbo.compressSync(raw, { format, width, height, quality: QUALITY, subsampling }),
    );
  });
}

function photograph(width: number, height: number, random: () => number): Uint8Array {
  const light = new Float32Array(width * height);
  for (const [i, cell] of OCTAVES.entries()) addNoise(light, width, height, cell, 90 / 2 ** i, random);
  const tints = [0, 1, 2].map(() => {
    const tint = new Float32Array(width * height);
    addNoise(tint, width, height, 70, 50, random);
    return tint;
  });
  const shapes = Array.from({ length: SHAPES }, () => ({
    x: random() * width,
    y: random() * height,
    wide: (0.04 + random() * 0.2) * width,
    high: (0.04 + random() * 0.2) * height,
    round: random() < 0.5,
    colour: [0, 1, 2].map(() => (random() - 0.5) * 160),
  }));
  const pixels = new Uint8Array(width * height * 3);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const inside = shapes.findLast(({ x: cx, y: cy, wide, high, round }) => {
        const [dx, dy] = [Math.abs(x - cx) / wide, Math.abs(y - cy) / high];
        return round ? dx * dx + dy * dy < 1 : Math.max(dx, dy) < 1;
      });
      const grain = (random() - 0.5) * GRAIN;
      for (let c = 0; c < 3; c++) {
        const value =
          128 + (light[at] as number) + (tints[c]?.[at] as number) + grain + (inside?.colour[c] ?? 0);
        pixels[at * 3 + c] = Math.max(0, Math.min(255, value));
      }
    }
  return pixels;
}

/** Random values on a grid of cells, and straight lines between them. */
function addNoise(
  into: Float32Array,
  width: number,
  height: number,
  cell: number,
  strength: number,
  random: () => number,
): void {
  const columns = Math.ceil(width / cell) + 2;
  const rows = Math.ceil(height / cell) + 2;
  const grid = Float32Array.from({ length: columns * rows }, () => (random() - 0.5) * 2 * strength);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const [column, row] = [Math.floor(x / cell), Math.floor(y / cell)];
      const [right, down] = [x / cell - column, y / cell - row];
      const corner = row * columns + column;
      const upper = (grid[corner] as number) * (1 - right) + (grid[corner + 1] as number) * right;
      const lower =
        (grid[corner + columns] as number) * (1 - right) + (grid[corner + columns + 1] as number) * right;
      into[at] = (into[at] as number) + upper * (1 - down) + lower * down;
    }
}

/** From 0 to below 1. */
function xorshift(seed: number): () => number {
  let state = (seed * 2_654_435_761 + 1) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Resampling as docs/formats/processing-v1.md states it, one number at a time: what the kernel must equal bit by bit. */
import { axisWeights, WEIGHT_ONE } from "../../../core/augment/weights.ts";
import type { Stage } from "../../../core/augment/stages.ts";

export interface Pixels {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  readonly data: Uint8Array;
}

/** The exact result: horizontally with 6 bits kept, then vertically. */
export function resampleExactly(image: Pixels, { crop, size, window, mirrored }: Stage): Pixels {
  const { channels, data } = image;
  const across = axisWeights(crop.width, size[1], window.left, window.width, mirrored);
  const down = axisWeights(crop.height, size[0], window.top, window.height, false);
  const rows = new Int16Array(crop.height * window.width * channels);
  let at = 0;
  for (let y = 0; y < crop.height; y++) {
    for (let x = 0; x < window.width; x++) {
      const start = across.starts[x] as number;
      const taps = Math.min(across.taps, crop.width - start);
      const from = ((crop.top + y) * image.width + crop.left + start) * channels;
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let t = 0; t < taps; t++)
          sum += (across.weights[x * across.taps + t] as number) * (data[from + t * channels + c] as number);
        rows[at++] = (sum + (WEIGHT_ONE >> 7)) >> 8;
      }
    }
  }
  const stride = window.width * channels;
  const out = new Uint8Array(window.height * stride);
  for (let y = 0; y < window.height; y++) {
    const start = down.starts[y] as number;
    const taps = Math.min(down.taps, crop.height - start);
    for (let i = 0; i < stride; i++) {
      let sum = 0;
      for (let t = 0; t < taps; t++)
        sum += (down.weights[y * down.taps + t] as number) * (rows[(start + t) * stride + i] as number);
      out[y * stride + i] = (sum + (1 << 19)) >> 20;
    }
  }
  return { height: window.height, width: window.width, channels, data: out };
}

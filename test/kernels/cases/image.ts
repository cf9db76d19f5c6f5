import { axisWeights } from "../../../core/augment/weights.ts";
import type { Stage } from "../../../core/augment/stages.ts";
import { IMAGE_MARGIN_BYTES, type Kernels } from "../../../kernels/index.ts";
import { type Pixels, resampleExactly } from "../../core/augment/resample.ts";
import { equal, equalBytes, noise, refused } from "../check.ts";
import type { KernelCase } from "./case.ts";

const GUARD = 0xa5;

export const imageCases: readonly KernelCase[] = [
  {
    name: "resampling equals its definition, whatever the sizes and channels",
    run: (kernels) => {
      const sizes = [1, 2, 3, 7, 16, 33, 100];
      for (const [i, height] of sizes.entries()) {
        for (const [j, width] of sizes.entries()) {
          const channels = ((i + j) % 4) + 1;
          const image = { height, width, channels, data: noise(height * width * channels, i * 10 + j) };
          for (const to of [1, 5, 32, 131]) {
            compare(kernels, image, whole(image, [to, sizes[(i + to) % sizes.length] as number]));
          }
        }
      }
    },
  },
  {
    name: "a part of an image makes a part of the resampled one, mirrored or not",
    run: (kernels) => {
      for (let channels = 1; channels <= 4; channels++) {
        const image = { height: 60, width: 50, channels, data: noise(60 * 50 * channels, channels) };
        for (const mirrored of [false, true]) {
          compare(kernels, image, {
            crop: { top: 7, left: 3, height: 41, width: 44 },
            size: [23, 90],
            window: { top: 2, left: 11, height: 19, width: 70 },
            mirrored,
          });
        }
      }
    },
  },
  {
    name: "an even image stays even, and no size changes nothing",
    run: (kernels) => {
      for (const value of [0, 1, 128, 254, 255]) {
        const even = { height: 91, width: 77, channels: 3, data: new Uint8Array(91 * 77 * 3).fill(value) };
        const result = resample(kernels, even, whole(even, [13, 200]));
        equal(
          result.findIndex((sample) => sample !== value),
          -1,
          `an even ${value}`,
        );
      }
      const image = { height: 20, width: 31, channels: 3, data: noise(20 * 31 * 3, 5) };
      equalBytes(resample(kernels, image, whole(image, [20, 31])), image.data, "the same size");
    },
  },
  {
    name: "an image that the heap has no room to resample is refused",
    run: (kernels) => {
      const image = { height: 1000, width: 1, channels: 1, data: noise(1000, 1) };
      refused(() => resample(kernels, image, whole(image, [1, 8000])), "resource_exhausted", "8000 columns");
    },
  },
  {
    name: "every sample becomes what its channel's table says, mirrored, planar or neither",
    run: (kernels) => {
      for (const sampleBytes of [1, 2] as const)
        for (const elementBytes of [1, 2, 4] as const)
          for (const planar of [false, true])
            for (const mirrored of [false, true]) {
              // 16-bit samples of two channels: the tables of more do not fit the heap of this test.
              lookUpEquals(kernels, sampleBytes === 1 ? 3 : 2, sampleBytes, elementBytes, planar, mirrored);
            }
    },
  },
];

function compare(kernels: Kernels, image: Pixels, stage: Stage): void {
  const what = `${image.height}×${image.width}×${image.channels} to ${stage.size.join("×")}`;
  equalBytes(resample(kernels, image, stage), resampleExactly(image, stage).data, what);
}

function resample({ heap, images }: Kernels, image: Pixels, stage: Stage): Uint8Array {
  const { crop, size, window, mirrored } = stage;
  const { width, channels, data } = image;
  const length = window.height * window.width * channels;
  const regions = [data.length, length, 0].map((bytes) => heap.tryAllocate(bytes + IMAGE_MARGIN_BYTES));
  const [source, destination, after] = regions;
  if (source === undefined || destination === undefined || after === undefined)
    throw new Error("The heap is full.");
  try {
    source.view.fill(GUARD);
    source.view.set(data);
    after.view.fill(GUARD);
    images.resample({
      source: source.pointer + (crop.top * width + crop.left) * channels,
      sourceStride: width * channels,
      sourceRows: crop.height,
      channels,
      across: axisWeights(crop.width, size[1], window.left, window.width, mirrored),
      down: axisWeights(crop.height, size[0], window.top, window.height, false),
      destination: destination.pointer,
    });
    equalBytes(source.view.subarray(0, data.length), data, "the source");
    equal(
      after.view.findIndex((byte) => byte !== GUARD),
      -1,
      "what lies behind the margin",
    );
    return destination.view.slice(0, length);
  } finally {
    for (const region of regions) region?.free();
  }
}

function whole({ height, width }: Pixels, size: readonly [number, number]): Stage {
  return {
    crop: { top: 0, left: 0, height, width },
    size,
    window: { top: 0, left: 0, height: size[0], width: size[1] },
    mirrored: false,
  };
}

function lookUpEquals(
  { heap, images }: Kernels,
  channels: number,
  sampleBytes: 1 | 2,
  elementBytes: 1 | 2 | 4,
  planar: boolean,
  mirrored: boolean,
): void {
  const [height, width] = [5, 7];
  const count = height * width * channels;
  const values = sampleBytes === 1 ? 256 : 65_536;
  const samples = noise(count * sampleBytes, count);
  const tables = noise(values * elementBytes * channels, elementBytes);
  const from = heap.tryAllocate(samples.length);
  const by = heap.tryAllocate(tables.length);
  const to = heap.tryAllocate(count * elementBytes);
  if (from === undefined || by === undefined || to === undefined) throw new Error("The heap is full.");
  from.view.set(samples);
  by.view.set(tables);
  const pixel = channels * sampleBytes;
  images.lookUp({
    source: from.pointer + (mirrored ? (width - 1) * pixel : 0),
    rowStep: width * pixel,
    pixelStep: mirrored ? -pixel : pixel,
    sampleBytes,
    height,
    width,
    channels,
    tables: by.pointer,
    elementBytes,
    destination: to.pointer,
    planar,
  });
  const expected = new Uint8Array(count * elementBytes);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++) {
        const at = ((y * width + (mirrored ? width - 1 - x : x)) * channels + c) * sampleBytes;
        const sample = (samples[at] as number) + (sampleBytes === 2 ? (samples[at + 1] as number) * 256 : 0);
        const element = (c * values + sample) * elementBytes;
        const place = planar ? (c * height + y) * width + x : (y * width + x) * channels + c;
        expected.set(tables.subarray(element, element + elementBytes), place * elementBytes);
      }
  equalBytes(
    to.view,
    expected,
    `${sampleBytes} to ${elementBytes}${planar ? ", planar" : ""}${mirrored ? ", mirrored" : ""}`,
  );
  for (const region of [from, by, to]) region.free();
}

/** The geometric steps of a processing for one image, reduced to as few passes over its pixels as give the same result. */
import { invalidArgument } from "../errors.ts";
import { IMAGE_MAX_SIDE } from "../limits.ts";
import { isGeometric, type GeometricStep, type Processing, type Size } from "./steps.ts";
import { below, draw, type DrawKey, unit } from "./random.ts";

/** Pixels, from the top left corner of what it lies in. */
export interface Rectangle {
  readonly top: number;
  readonly left: number;
  readonly height: number;
  readonly width: number;
}

/**
 * One pass: `crop` of the image before it, resampled to `size`, of that `window`, and of that the mirror image where
 * `mirrored`. Where `size` is the size of `crop`, nothing is resampled, and `window` is all of it.
 */
export interface Stage {
  readonly crop: Rectangle;
  readonly size: Size;
  readonly window: Rectangle;
  readonly mirrored: boolean;
}

/** Tries of a random resized crop before it falls back to the centre. */
const TRIES = 10;
/** Halvings of the range of logarithms from which an aspect ratio is drawn. */
const RATIO_BITS = 16;

export function isResampled({ crop, size: [height, width] }: Stage): boolean {
  return crop.height !== height || crop.width !== width;
}

/**
 * At least one stage; all but the last are resampled or mirrored.
 * @param name what errors call the image.
 * @throws `invalid_argument` when the image is smaller than a centre crop or becomes too large.
 */
export function stagesOf(
  processing: Processing | undefined,
  [height, width]: Size,
  key: DrawKey,
  name: string,
): readonly Stage[] {
  const stages: Stage[] = [];
  let last = untouched(height, width);
  for (const [number, step] of (processing?.steps ?? []).entries()) {
    if (!isGeometric(step)) break;
    const { window } = last;
    const area = cropOf(step, [window.height, window.width], key, number, name);
    if (area !== undefined) last = cropped(last, area);
    if (step.op === "random_horizontal_flip" && unit(draw(key, number, 0)[0]) < step.p)
      last = { ...last, mirrored: !last.mirrored };
    if (step.op !== "resize" && step.op !== "random_resized_crop") continue;
    const from: Size = [last.window.height, last.window.width];
    const to = step.op === "resize" ? resized(from, step.size, name) : step.size;
    if (to[0] === from[0] && to[1] === from[1]) continue;
    // Mirroring and resampling do not commute: weights are rounded from left to right.
    if (isResampled(last) || last.mirrored) {
      stages.push(last);
      last = untouched(...from);
    }
    last = { ...last, size: to, window: whole(to) };
  }
  return [...stages, last];
}

/** The size that an image of a given one ends in. */
export function sizeAfter(processing: Processing | undefined, before: Size): Size {
  let size = before;
  for (const step of processing?.steps ?? []) {
    if (step.op === "resize") size = resized(size, step.size, "schema.shape");
    if (step.op === "center_crop" || step.op === "random_resized_crop") size = step.size;
  }
  return size;
}

/** The part of an image that a step cuts out, or undefined for a step that does not cut. */
function cropOf(
  step: GeometricStep,
  [height, width]: Size,
  key: DrawKey,
  number: number,
  name: string,
): Rectangle | undefined {
  if (step.op === "random_resized_crop") return randomArea(step, [height, width], key, number);
  if (step.op !== "center_crop") return undefined;
  if (step.size[0] > height || step.size[1] > width)
    throw invalidArgument(
      name,
      `is ${height}×${width} where center_crop takes ${step.size.join("×")}; resize before it.`,
    );
  return centred([height, width], step.size);
}

/**
 * As torchvision's RandomResizedCrop: a part of the area drawn uniformly, a ratio uniform in its logarithm, a place
 * uniformly; ten tries for one that fits, then the largest centred area whose ratio is allowed. The logarithm is
 * halved by geometric means, which IEEE 754 rounds alike everywhere, as it does not `exp` and `log`.
 */
function randomArea(
  step: Extract<GeometricStep, { op: "random_resized_crop" }>,
  [height, width]: Size,
  key: DrawKey,
  number: number,
): Rectangle {
  const [least, greatest] = step.scale;
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const [part, ratioWord, topWord, leftWord] = draw(key, number, attempt);
    const area = height * width * (least + (greatest - least) * unit(part));
    const ratio = ratioFrom(step.ratio, ratioWord);
    const areaWidth = Math.floor(Math.sqrt(area * ratio) + 0.5);
    const areaHeight = Math.floor(Math.sqrt(area / ratio) + 0.5);
    if (areaWidth < 1 || areaWidth > width || areaHeight < 1 || areaHeight > height) continue;
    const top = below(topWord, height - areaHeight + 1);
    const left = below(leftWord, width - areaWidth + 1);
    return { top, left, height: areaHeight, width: areaWidth };
  }
  const [narrowest, widest] = step.ratio;
  const ratio = width / height;
  if (ratio < narrowest)
    return centred([height, width], [atLeastOne(Math.min(height, width / narrowest)), width]);
  if (ratio > widest) return centred([height, width], [height, atLeastOne(Math.min(width, height * widest))]);
  return centred([height, width], [height, width]);
}

function ratioFrom([least, greatest]: readonly [number, number], word: number): number {
  let low = least;
  let high = greatest;
  for (let bit = 31; bit > 31 - RATIO_BITS; bit--) {
    const middle = Math.sqrt(low * high);
    if (((word >>> bit) & 1) === 1) low = middle;
    else high = middle;
  }
  return Math.sqrt(low * high);
}

function resized([height, width]: Size, size: number | Size, name: string): Size {
  if (typeof size !== "number") return size;
  const longer = Math.floor((size * Math.max(height, width)) / Math.min(height, width));
  if (longer > IMAGE_MAX_SIDE)
    throw invalidArgument(
      name,
      `is ${height}×${width}; with a shorter side of ${size} the longer one is above ${IMAGE_MAX_SIDE}.`,
    );
  return height <= width ? [size, longer] : [longer, size];
}

function cropped(stage: Stage, area: Rectangle): Stage {
  const { window, mirrored } = stage;
  const left = mirrored ? window.width - area.left - area.width : area.left;
  const inside = { ...area, top: window.top + area.top, left: window.left + left };
  if (isResampled(stage)) return { ...stage, window: inside };
  const crop = { ...inside, top: stage.crop.top + inside.top, left: stage.crop.left + inside.left };
  return { ...untouched(area.height, area.width), crop, mirrored };
}

function untouched(height: number, width: number): Stage {
  const all = whole([height, width]);
  return { crop: all, size: [height, width], window: all, mirrored: false };
}

function whole([height, width]: Size): Rectangle {
  return { top: 0, left: 0, height, width };
}

function centred([height, width]: Size, [innerHeight, innerWidth]: Size): Rectangle {
  return {
    top: Math.floor((height - innerHeight) / 2),
    left: Math.floor((width - innerWidth) / 2),
    height: innerHeight,
    width: innerWidth,
  };
}

function atLeastOne(length: number): number {
  return Math.max(1, Math.floor(length + 0.5));
}

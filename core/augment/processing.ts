/** What the companion does to images on their way: docs/formats/processing-v1.md. */
import * as z from "zod";
import { canonicalJson } from "../canonical-json.ts";
import { invalidArgument } from "../errors.ts";
import { IMAGE_MAX_CHANNELS, PROCESSING_MAX_SIDE, PROCESSING_MAX_STEPS } from "../limits.ts";
import type { Blake3 } from "../ports.ts";
import { refusalOf, sentenceOf } from "../refusal.ts";
import { utf8 } from "../text.ts";
import { CAST_TYPES, isGeometric, type Processing, type ProcessingStep } from "./steps.ts";

export type { Processing } from "./steps.ts";

export const PROCESSING_CONTEXT = "cyxcloud-datastream 2026-11 processing v1";

const side = z.int().min(1).max(PROCESSING_MAX_SIDE);
const size = z.tuple([side, side]);
/** One number is a square. */
const cropSize = z.union([side.transform((length): [number, number] => [length, length]), size], {
  error: `must be a whole number of pixels up to ${PROCESSING_MAX_SIDE}, or [height, width].`,
});
const perChannel = z.array(z.number()).min(1).max(IMAGE_MAX_CHANNELS);

const positive = z.number().gt(0);
const ascending = z
  .tuple([positive, positive])
  .refine(([low, high]) => low <= high, "must be [least, greatest].");

const stepShape = z.discriminatedUnion("op", [
  z.strictObject({
    op: z.literal("resize"),
    size: z.union([side, size], {
      error: `must be the shorter side in pixels, up to ${PROCESSING_MAX_SIDE}, or [height, width].`,
    }),
  }),
  z.strictObject({ op: z.literal("center_crop"), size: cropSize }),
  z.strictObject({
    op: z.literal("random_resized_crop"),
    size: cropSize,
    scale: ascending.refine(([, high]) => high <= 1, "must not be above 1.").default([0.08, 1]),
    ratio: ascending.default([3 / 4, 4 / 3]),
  }),
  z.strictObject({ op: z.literal("random_horizontal_flip"), p: z.number().min(0).max(1).default(0.5) }),
  z.strictObject({
    op: z.literal("normalize"),
    mean: perChannel,
    std: z.array(z.number().gt(0)).min(1).max(IMAGE_MAX_CHANNELS),
  }),
  z.strictObject({ op: z.literal("cast"), dtype: z.enum(CAST_TYPES) }),
  z.strictObject({ op: z.literal("layout"), order: z.enum(["NHWC", "NCHW"]) }),
]);

const processingShape = z.strictObject({
  version: z.literal(1),
  steps: z.array(stepShape).min(1).max(PROCESSING_MAX_STEPS),
});

/**
 * Validates a processing given as JSON text or as a JSON value, and fills in the defaults.
 * @throws `invalid_argument` naming the key in question, for example `processing.steps.0.size`.
 */
export function parseProcessing(input: unknown, field: string = "processing"): Processing {
  const value = typeof input === "string" ? parseJson(input, field) : input;
  const result = processingShape.safeParse(value, { error: sentenceOf });
  if (!result.success) throw refusalOf(result.error.issues, { place: field, prefix: field });
  const { steps } = result.data as Processing;
  checkOrder(steps, field);
  for (const [i, step] of steps.entries()) {
    if (step.op === "normalize" && step.mean.length !== step.std.length)
      throw invalidArgument(`${field}.steps.${i}.std`, "must be as many as mean.");
  }
  return { version: 1, steps };
}

/** 32 bytes over the canonical JSON with the defaults filled in; part of a stream's parameters. */
export function processingHash(processing: Processing, blake3: Blake3): Uint8Array {
  return blake3.deriveKey(PROCESSING_CONTEXT, utf8(canonicalJson(processing, "processing")));
}

function checkOrder(steps: readonly ProcessingStep[], field: string): void {
  const seen = new Set<string>();
  for (const [i, step] of steps.entries()) {
    const at = `${field}.steps.${i}`;
    if (isGeometric(step)) {
      if (seen.size > 0) throw invalidArgument(at, `is ${step.op}, which must stand before ${[...seen][0]}.`);
    } else {
      if (seen.has(step.op)) throw invalidArgument(at, `is a second ${step.op}; one is allowed.`);
      seen.add(step.op);
    }
  }
  const cast = steps.findIndex((step) => step.op === "cast" && step.dtype === "uint8");
  if (cast >= 0 && seen.has("normalize"))
    throw invalidArgument(
      `${field}.steps.${cast}.dtype`,
      "is uint8; normalized values need float16, bfloat16 or float32.",
    );
}

function parseJson(text: string, field: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw invalidArgument(field, "is not JSON.");
  }
}

/** The steps of a processing as values: docs/formats/processing-v1.md. `processing.ts` validates them. */

/** Height and width in pixels. */
export type Size = readonly [height: number, width: number];

export type GeometricStep =
  /** To exactly this size, or so that the shorter side has this many pixels. */
  | { readonly op: "resize"; readonly size: number | Size }
  | { readonly op: "center_crop"; readonly size: Size }
  | {
      readonly op: "random_resized_crop";
      readonly size: Size;
      /** Least and greatest part of the image's area. */
      readonly scale: readonly [number, number];
      /** Least and greatest width by height. */
      readonly ratio: readonly [number, number];
    }
  | { readonly op: "random_horizontal_flip"; readonly p: number };

export type SampleStep =
  /** Per channel, or one for all. */
  | { readonly op: "normalize"; readonly mean: readonly number[]; readonly std: readonly number[] }
  | { readonly op: "cast"; readonly dtype: CastType }
  | { readonly op: "layout"; readonly order: "NHWC" | "NCHW" };

export type ProcessingStep = GeometricStep | SampleStep;

export const CAST_TYPES = ["uint8", "float16", "bfloat16", "float32"] as const;
export type CastType = (typeof CAST_TYPES)[number];

/** A validated processing with every default filled in: equal results have equal canonical JSON, up to the order of the last steps. */
export interface Processing {
  readonly version: 1;
  readonly steps: readonly ProcessingStep[];
}

/** The step of a kind that stands at most once, or undefined. */
export function sampleStep<Op extends SampleStep["op"]>(
  processing: Processing | undefined,
  op: Op,
): Extract<SampleStep, { op: Op }> | undefined {
  return processing?.steps.find((step): step is Extract<SampleStep, { op: Op }> => step.op === op);
}

export function isGeometric(step: ProcessingStep): step is GeometricStep {
  return step.op !== "normalize" && step.op !== "cast" && step.op !== "layout";
}

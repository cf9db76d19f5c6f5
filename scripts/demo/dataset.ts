/** The handwritten digits as a dataset of a gateway. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findFiles, openFiles } from "../../cli/walk.ts";
import type { DataStreamClient } from "../../client/client.ts";
import type { Dataset } from "../../client/datasets.ts";
import { DIGIT_SIDE, writeDigits } from "./digits.ts";

export const DIGITS_DATASET = "digits";
const BUCKET = "demo";
/** Small chunks, so that little data makes many of them. */
const CHUNK_BYTES = 16 * 1024;

/** Uploads every image, as `train/CLASS/NUMBER.png` or `held-out/CLASS/NUMBER.png`. */
export async function uploadDigits(client: DataStreamClient, say: (line: string) => void): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "cyxcloud-digits-"));
  try {
    const counts = writeDigits(folder);
    const files = await findFiles(folder);
    say(`Uploading ${files.length} images (${counts.train} to train, ${counts.heldOut} held out)`);
    await client.objects.ensureBucket(BUCKET, { chunkBytes: CHUNK_BYTES });
    await client.uploadFolder({ bucket: BUCKET, prefix: "digits/" }, openFiles(files));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Makes a dataset version of what `uploadDigits` stored. */
export function createDigits(client: DataStreamClient): Promise<Dataset> {
  return client.datasets.create({
    name: DIGITS_DATASET,
    files: [`${BUCKET}/digits/**/*.png`],
    schema: {
      type: "image",
      format: "png",
      shape: [DIGIT_SIDE, DIGIT_SIDE, 1],
      dtype: "uint8",
      labels: "path",
    },
    description: "Optical recognition of handwritten digits",
  });
}

/** What several commands read and print of datasets. */
import { readFile } from "node:fs/promises";
import type { Dataset } from "../client/datasets.ts";
import { invalidArgument } from "../core/errors.ts";
import { bytes, fields, shortHash } from "./output.ts";

/** @param text JSON, or `@` and the name of a file of it. */
export async function parseSchemaOption(text: string): Promise<Record<string, unknown>> {
  const json = text.startsWith("@") ? await readFile(text.slice(1), "utf8") : text;
  try {
    return JSON.parse(json) as Record<string, unknown>;
  } catch {
    throw invalidArgument(
      "schema",
      `is not JSON. For example: '{"type": "image", "format": "png", "labels": "path"}'`,
    );
  }
}

export function summary(title: string, dataset: Dataset): string {
  return fields(title, {
    Files: dataset.file_count,
    Size: bytes(dataset.total_size_bytes),
    Hash: shortHash(dataset.content_hash),
    Trust: dataset.trust,
  });
}

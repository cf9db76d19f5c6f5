/** What the routes about datasets have in common. */
import { z } from "@hono/zod-openapi";
import type { DatasetRow } from "../../catalog/datasets.ts";
import { trustFor } from "../../core/access/trust.ts";
import { toHex } from "../../core/bytes.ts";
import { TRUST_LABELS, trustLabel } from "../../core/dataset/trust.ts";
import { Digest, Time, Uuid } from "./schemas.ts";

export const TrustLevel: z.ZodInt = z
  .int()
  .min(0)
  .max(4)
  .openapi({ description: "0 self, 1 signed, 2 verified, 3 attested, 4 untrusted", example: 0 });
export const TrustLabel: z.ZodType<(typeof TRUST_LABELS)[number]> = z
  .enum(TRUST_LABELS)
  .openapi({ example: "self" });
export const DatasetName: z.ZodString = z.string().openapi({ example: "my-dataset" });
const Count = z.int().min(0);

/** A dataset version as REST shows it. */
export interface ShownDataset {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  readonly version: number;
  readonly parent_id: string | null;
  readonly description: string;
  readonly schema: Record<string, unknown>;
  readonly schema_hash: string;
  readonly content_hash: string;
  readonly total_size_bytes: number;
  readonly file_count: number;
  readonly max_item_bytes: number;
  readonly manifest_size_bytes: number;
  readonly trust_level: number;
  readonly trust: (typeof TRUST_LABELS)[number];
  readonly visibility: "private" | "public";
  readonly created_at: string;
  readonly chunks?: number | undefined;
  readonly shards?: number | undefined;
}

export const DatasetSchema: z.ZodType<ShownDataset> = z
  .object({
    id: Uuid.openapi({ description: "Of this version" }),
    name: DatasetName,
    owner: z.string().openapi({ example: "ada" }),
    version: z.int().min(1).openapi({ example: 1 }),
    parent_id: Uuid.nullable().openapi({
      description: "The version before; null where there is none any more",
    }),
    description: z.string(),
    schema: z.record(z.string(), z.unknown()).openapi({
      example: { type: "image", format: "png", labels: "path", classes: ["0", "1"] },
    }),
    schema_hash: Digest.openapi({ description: "BLAKE3 of the schema's canonical JSON (RFC 8785)" }),
    content_hash: Digest.openapi({ description: "BLAKE3 of the manifest" }),
    total_size_bytes: Count.openapi({ example: 2469606195 }),
    file_count: Count.openapi({ example: 50000 }),
    max_item_bytes: Count.openapi({ example: 98304 }),
    manifest_size_bytes: Count.openapi({ example: 3450064 }),
    trust_level: TrustLevel,
    trust: TrustLabel,
    visibility: z.enum(["private", "public"]).openapi({
      description: "public: a copy of a published dataset, which every user may describe, read and stream",
    }),
    created_at: Time,
    chunks: Count.optional().openapi({
      description: "That hold its files; only for one dataset of moderate size",
    }),
    shards: Count.optional(),
  })
  .openapi("Dataset");

/** Names a dataset version in a path. */
export const DatasetParams: z.ZodObject<{ ref: z.ZodString }> = z.object({
  ref: z
    .string()
    .min(1)
    .max(512)
    .openapi({
      param: {
        name: "ref",
        in: "path",
        description:
          "Percent-encoded: a version's id, `name`, `owner/name`, a name with `@3` for a version, any with " +
          "`@blake3:HEX` for a content hash. A name alone is your newest version.",
      },
      example: "my-dataset",
    }),
});

/** @param userId whose level of trust is told. */
export function shownDataset(dataset: DatasetRow, userId: string): ShownDataset {
  const level = trustFor(dataset, userId).displayed;
  return {
    id: dataset.id,
    name: dataset.name,
    owner: dataset.ownerName,
    version: dataset.version,
    parent_id: dataset.parentId,
    description: dataset.description,
    schema: dataset.schema,
    schema_hash: toHex(dataset.schemaHash),
    content_hash: toHex(dataset.contentHash),
    total_size_bytes: dataset.totalSizeBytes,
    file_count: dataset.fileCount,
    max_item_bytes: dataset.maxItemBytes,
    manifest_size_bytes: dataset.manifestSizeBytes,
    trust_level: level,
    trust: trustLabel(level),
    visibility: dataset.isPublic ? "public" : "private",
    created_at: dataset.createdAt.toISOString(),
  };
}

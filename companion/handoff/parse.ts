import * as z from "zod";
import { invalidArgument } from "../../core/errors.ts";
import {
  BATCH_MAX_ITEMS,
  FILTER_MAX_GLOBS,
  GLOB_MAX_CHARS,
  PATH_MAX_BYTES,
  PREFETCH_MAX_BATCHES,
  SLOTS_MAX,
  STREAM_ID_MAX_CHARS,
  WORLD_SIZE_MAX,
} from "../../core/limits.ts";
import { refusalOf, sentenceOf } from "../../core/refusal.ts";
import { HANDOFF_BACKENDS, type ClientMessage } from "./messages.ts";

const TOKEN_MAX_CHARS = 16_384;
const FILE_PATH_MAX_CHARS = 4_096;
const EPOCH_MAX = 2 ** 32 - 1;
const count = z.int().min(0);
const text = (characters: number): z.ZodString => z.string().min(1).max(characters);

/** CUipcMemHandle: 64 bytes. */
const handle = z.base64().length(88, "must be 64 bytes in base64.");

const position = z.object({
  epoch: count.max(EPOCH_MAX),
  start_index: count,
  batch_index: count,
  world_size: z.int().min(1).max(WORLD_SIZE_MAX),
  batch_size: z.int().min(1).max(BATCH_MAX_ITEMS),
});

const streamRequest = {
  dataset: text(PATH_MAX_BYTES),
  access_token: text(TOKEN_MAX_CHARS),
  batch_size: z.int().min(1).max(BATCH_MAX_ITEMS),
  gateway: z.url({ protocol: /^https?$/ }).optional(),
  stream_id: text(STREAM_ID_MAX_CHARS).optional(),
  epoch: count.max(EPOCH_MAX).optional(),
  epochs: z.int().min(1).optional(),
  rank: count.max(WORLD_SIZE_MAX - 1).optional(),
  world_size: z.int().min(1).max(WORLD_SIZE_MAX).optional(),
  shuffle: z.union([z.boolean(), z.enum(["full", "block"])]).optional(),
  seed: z
    .string()
    .regex(/^-?\d{1,20}$/, "must be decimal digits.")
    .optional(),
  block: z
    .object({
      block_size: z.int().min(1).optional(),
      lanes: z.int().min(1).optional(),
      blocks_per_group: z.int().min(1).optional(),
    })
    .optional(),
  tail: z.enum(["short", "drop_last", "pad"]).optional(),
  filter: z
    .object({
      prefix: z.string().max(PATH_MAX_BYTES).optional(),
      globs: z.array(text(GLOB_MAX_CHARS)).max(FILTER_MAX_GLOBS).optional(),
    })
    .optional(),
  position: position.optional(),
  max_trust_level: z.int().min(0).max(4).optional(),
  prefetch_batches: z.int().min(1).max(PREFETCH_MAX_BATCHES).optional(),
  slots: z.int().min(2).max(SLOTS_MAX).optional(),
  on_error: z.enum(["raise", "skip"]).optional(),
  processing: z.record(z.string(), z.unknown()).optional(),
  schema_hash: z
    .string()
    .regex(/^[0-9a-fA-F]{64}$/, "must be 64 hexadecimal digits.")
    .optional(),
  known_keys: z.string().regex(/^\//, "must be an absolute path.").max(FILE_PATH_MAX_CHARS).optional(),
  cache: z.boolean().optional(),
  backend: z.enum(["auto", ...HANDOFF_BACKENDS]).optional(),
  device: z
    .object({
      uuid: z.string().regex(/^[A-Z]+-[0-9a-fA-F-]{36}$/, "must be GPU- and a UUID."),
      pid: z.int().min(1),
      ipc: z.boolean(),
      probe: handle.optional(),
    })
    .optional(),
} as const;

const fromClient: z.ZodType<ClientMessage> = z.discriminatedUnion("type", [
  z.object({ type: z.literal("open"), ...streamRequest }),
  z.object({ type: z.literal("describe"), ...streamRequest }),
  z.object({
    type: z.literal("attached"),
    handles: z.array(handle).max(SLOTS_MAX).optional(),
  }),
  z.object({
    type: z.literal("release"),
    lease: count,
    slot: count,
    acknowledge: z.boolean().optional(),
    checkpoint: z.boolean().optional(),
  }),
  z.object({ type: z.literal("paths"), lease: count }),
  z.object({ type: z.literal("close") }),
]);

/**
 * Reads one line of a client.
 * @throws DataStreamError `invalid_argument` naming the member; its value is never repeated, it may be a token.
 */
export function parseClientMessage(line: string): ClientMessage {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw invalidArgument("message", "is no JSON.");
  }
  const parsed = fromClient.safeParse(value, { error: sentenceOf });
  if (parsed.success) return parsed.data;
  throw refusalOf(parsed.error.issues, { place: "message" });
}

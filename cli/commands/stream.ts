import { randomUUID } from "node:crypto";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Command } from "commander";
import type { StreamOptions } from "../../client/stream/options.ts";
import { toHex } from "../../core/bytes.ts";
import { checkPath } from "../../core/dataset/path.ts";
import { invalidArgument } from "../../core/errors.ts";
import { contextOf } from "../context.ts";
import { bytes, fields } from "../output.ts";
import { Progress, withProgress } from "../progress.ts";

interface StreamCommandOptions {
  readonly to?: string;
  readonly count?: boolean;
  readonly batchSize: number;
  readonly shuffle?: string;
  readonly seed: string;
  readonly epochs: number;
  readonly rank: number;
  readonly worldSize: number;
  readonly prefix?: string;
  readonly glob?: string[];
  readonly maxTrustLevel: number;
}

export function registerStream(program: Command): void {
  program
    .command("stream")
    .description("Stream a dataset, every item verified, into a folder or just to measure")
    .argument("<name>")
    .option("--to <folder>", "write each item under its path")
    .option("--count", "count and measure alone")
    .option("--batch-size <n>", "items per batch", Number, 32)
    .option("--shuffle <mode>", "full or block; default: manifest order")
    .option("--seed <n>", "seed of the shuffle, of 64 bits", "0")
    .option("--epochs <n>", "how often to go through", Number, 1)
    .option("--rank <n>", "this process among several", Number, 0)
    .option("--world-size <n>", "how many processes share the dataset", Number, 1)
    .option("--prefix <prefix>", "only paths that begin so")
    .option("--glob <glob...>", "only paths that match one of these")
    .option("--max-trust-level <0-4>", "refuse data that is trusted less; 0 is your own", Number, 0)
    .action(async (name: string, options: StreamCommandOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const { to } = options;
      if ((to === undefined) === (options.count !== true))
        throw invalidArgument("to", "give either --to FOLDER or --count.");
      const folder = to === undefined ? undefined : resolve(to);
      const progress = new Progress(output, "Streaming");
      const measured = { batches: 0, items: 0, bytes: 0, transcript: "", stream_id: "" };
      const started = performance.now();
      await withProgress(progress, async () => {
        for await (const batch of client.streamBatches(streamOptions(name, options))) {
          if (folder !== undefined) {
            for (const [i, path] of batch.paths.entries())
              await writeItem(folder, path, batch.items[i] as Uint8Array);
          }
          measured.batches += 1;
          measured.items += batch.items.length;
          measured.bytes += batch.items.reduce((sum, item) => sum + item.byteLength, 0);
          measured.stream_id = batch.streamId;
          measured.transcript = toHex(batch.transcriptHead);
          progress.update(batch.index + 1, batch.totalBatches);
        }
      });
      const elapsed = (performance.now() - started) / 1000;
      const result = {
        ...measured,
        items_verified: measured.items,
        seconds: elapsed,
        mb_per_second: measured.bytes / 1e6 / elapsed,
      };
      output.result(result, () =>
        fields(folder === undefined ? `Streamed ${name}` : `Streamed ${name} to ${folder}`, {
          Batches: result.batches,
          "Items verified": result.items_verified,
          Size: bytes(result.bytes),
          Speed: `${result.mb_per_second.toFixed(1)} MB/s`,
          Transcript: result.transcript,
          Stream: result.stream_id,
        }),
      );
    });
}

function streamOptions(dataset: string, options: StreamCommandOptions): StreamOptions {
  const { shuffle } = options;
  if (shuffle !== undefined && shuffle !== "full" && shuffle !== "block") {
    throw invalidArgument("shuffle", `must be full or block, not ${shuffle}.`);
  }
  const filter = {
    ...(options.prefix === undefined ? {} : { prefix: options.prefix }),
    ...(options.glob === undefined ? {} : { globs: options.glob }),
  };
  return {
    dataset,
    batchSize: options.batchSize,
    seed: seedOf(options.seed),
    epochs: options.epochs,
    rank: options.rank,
    worldSize: options.worldSize,
    maxTrustLevel: options.maxTrustLevel,
    ...(shuffle === undefined ? {} : { shuffle }),
    ...(Object.keys(filter).length === 0 ? {} : { filter }),
  };
}

/** Exact: a number of JavaScript would round it. */
function seedOf(text: string): bigint {
  if (!/^-?\d+$/.test(text)) throw invalidArgument("seed", `${text} is no whole number.`);
  return BigInt(text);
}

/** Whole files only; a path from a manifest never leaves the folder. */
async function writeItem(folder: string, path: string, item: Uint8Array): Promise<void> {
  checkPath(path, "path");
  const target = join(folder, path);
  await mkdir(dirname(target), { recursive: true });
  // Not beside the target: what is written there could be another item.
  const scratch = join(folder, `.${randomUUID()}.part`);
  try {
    await writeFile(scratch, item);
    await rename(scratch, target);
  } catch (error) {
    await rm(scratch, { force: true });
    throw error;
  }
}

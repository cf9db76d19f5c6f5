import { openAsBlob } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, resolve } from "node:path";
import type { Command } from "commander";
import { invalidArgument } from "../../core/errors.ts";
import { contextOf } from "../context.ts";
import { bytes, fields } from "../output.ts";
import { Progress, withProgress } from "../progress.ts";
import { findFiles, openFiles } from "../walk.ts";

interface UploadCommandOptions {
  readonly bucket: string;
  readonly key?: string;
  readonly prefix?: string;
  readonly resume?: string;
  readonly chunkBytes?: number;
}

export function registerUpload(program: Command): void {
  program
    .command("upload")
    .description("Upload a file, or a folder of files")
    .argument("<path>", "file or folder")
    .requiredOption("--bucket <name>", "bucket to store in; created if it does not exist")
    .option("--key <key>", "key of the object (a file; default: its name)")
    .option("--prefix <prefix>", "prefix of every key (a folder; default: its name and a slash)")
    .option("--resume <id>", "continue an unfinished upload")
    .option("--chunk-bytes <n>", "chunk size of a new bucket, in bytes", Number)
    .action(async (path: string, options: UploadCommandOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const target = await stat(path).catch(() => {
        throw invalidArgument("path", `${path} does not exist.`);
      });
      await client.objects.ensureBucket(
        options.bucket,
        options.chunkBytes === undefined ? {} : { chunkBytes: options.chunkBytes },
      );
      const name = basename(resolve(path));
      const prefix = options.prefix ?? `${name}/`;
      const key = options.key ?? name;
      const files = target.isDirectory() ? await findFiles(path) : undefined;
      if (files?.length === 0) throw invalidArgument("path", `${path} holds no file.`);
      const total = files === undefined ? target.size : files.reduce((sum, file) => sum + file.size, 0);

      const progress = new Progress(output, "Uploading", bytes);
      let uploadId: string | undefined;
      const uploadOptions = {
        onProgress: (state: { bytes: number }) => progress.update(state.bytes, total),
        onUpload: (id: string) => {
          uploadId = id;
        },
        ...(options.resume === undefined ? {} : { resume: options.resume }),
      };
      try {
        const result = await withProgress(progress, async () =>
          files === undefined
            ? client.uploadObject({ bucket: options.bucket, key }, await openAsBlob(path), uploadOptions)
            : client.uploadFolder({ bucket: options.bucket, prefix }, openFiles(files), uploadOptions),
        );
        output.result(result, () =>
          fields(`Uploaded to ${options.bucket}: ${files === undefined ? key : prefix}`, {
            Files: result.objects,
            Size: bytes(result.bytes),
            Chunks: result.chunks,
            Degraded:
              result.degraded_chunks === 0 ? undefined : `${result.degraded_chunks} chunks, repair is queued`,
          }),
        );
      } catch (error) {
        if (uploadId !== undefined) output.note(`To continue this upload: add --resume ${uploadId}`);
        throw error;
      }
    });
}

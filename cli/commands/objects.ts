import { randomUUID } from "node:crypto";
import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { basename } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Command } from "commander";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { contextOf } from "../context.ts";
import { binaryBytes, bytes, time } from "../output.ts";

/** `bucket/key`, where the key may be empty. */
function split(location: string): { bucket: string; key: string } {
  const slash = location.indexOf("/");
  return slash === -1
    ? { bucket: location, key: "" }
    : { bucket: location.slice(0, slash), key: location.slice(slash + 1) };
}

export function registerObjects(program: Command): void {
  program
    .command("ls")
    .description("List buckets, or the objects of one")
    .argument("[bucket/prefix]")
    .action(async (location: string | undefined, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      if (location === undefined) {
        await output.list(
          "buckets",
          await client.objects.buckets(),
          ["BUCKET", "CHUNK", "SHARDS"],
          (bucket) => [
            bucket.name,
            binaryBytes(bucket.chunk_bytes),
            `${bucket.data_shards}+${bucket.parity_shards}`,
          ],
        );
        return;
      }
      const { bucket, key } = split(location);
      await output.list("objects", client.objects.list(bucket, key), ["SIZE", "CREATED", "KEY"], (object) => [
        bytes(object.size),
        time(object.created_at),
        object.key,
      ]);
    });

  program
    .command("get")
    .description("Download an object, verified on the way")
    .argument("<bucket/key>")
    .argument("[file]", "where to write; - for standard output; default: the last part of the key")
    .action(async (location: string, file: string | undefined, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const { bucket, key } = split(location);
      if (key === "")
        throw invalidArgument("bucket/key", "names a bucket; add a slash and the object's key.");
      const response = await client.objects.get(bucket, key);
      const body = Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]);
      if (file === "-") {
        await pipeline(body, process.stdout);
        return;
      }
      const target = file ?? basename(key);
      // What the name shows is always whole: a broken download leaves nothing.
      const scratch = `${target}.${randomUUID()}.part`;
      try {
        await pipeline(body, createWriteStream(scratch));
        await rename(scratch, target);
      } catch (error) {
        await rm(scratch, { force: true });
        if (error instanceof Error && "syscall" in error && "path" in error) throw error;
        throw new DataStreamError("unavailable", "The download broke off. Nothing was written; try again.", {
          cause: error,
        });
      }
      output.result({ bucket, key, file: target }, () => `Wrote ${target}`);
    });

  program
    .command("rm")
    .description("Delete objects; datasets keep the bytes that they use")
    .argument("<bucket/key...>")
    .option("-r, --recursive", "delete every object whose key begins so")
    .action(async (locations: string[], options: { recursive?: boolean }, command: Command) => {
      const { client, output } = contextOf(command);
      let deleted = 0;
      for (const location of locations) {
        const { bucket, key } = split(location);
        if (key === "" && options.recursive !== true) {
          throw invalidArgument(
            "bucket/key",
            `${location} names a bucket; add a key, or --recursive to empty it.`,
          );
        }
        const keys: string[] = [];
        if (options.recursive === true)
          for await (const object of client.objects.list(bucket, key)) keys.push(object.key);
        else keys.push(key);
        deleted += await client.objects.delete(bucket, keys);
      }
      output.result({ deleted }, () => `Deleted ${deleted} ${deleted === 1 ? "object" : "objects"}`);
    });
}

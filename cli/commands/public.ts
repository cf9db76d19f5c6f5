import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { basename } from "node:path";
import type { Command } from "commander";
import type { NewPublicDataset } from "../../client/registry.ts";
import { contextOf } from "../context.ts";
import { bytes, fields, table } from "../output.ts";
import { Progress, withProgress } from "../progress.ts";
import { parseSchemaOption, summary } from "../dataset-text.ts";

export function registerPublic(program: Command): void {
  const registry = program
    .command("public")
    .description("Datasets that were published elsewhere, with their hashes");
  registerLook(registry);
  registerManage(registry);
}

function registerLook(registry: Command): void {
  registry
    .command("list")
    .description("List the public registry")
    .option("--search <text>", "part of the name")
    .action(async (options: { search?: string }, command: Command) => {
      const { client, output } = contextOf(command);
      await output.list(
        "public_datasets",
        client.registry.list(options),
        ["NAME", "VERSION", "VERIFIED BY", "LICENCE", "COPY"],
        (entry) => [
          entry.name,
          entry.version,
          entry.verified_by.join(", "),
          entry.license ?? "-",
          entry.cached?.reference ?? "-",
        ],
      );
    });

  registry
    .command("show")
    .description("Show an entry and the files that were published; NAME may be NAME@VERSION")
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const entry = await client.registry.get(name);
      output.result(entry, () => {
        const head = fields(`${entry.name} (${entry.version})`, {
          "Published at": entry.official_url,
          Licence: entry.license ?? undefined,
          "Verified by": entry.verified_by.join(", "),
          "Unpacked by": entry.recipe ?? undefined,
          "Manifest hash": entry.official_hash ?? undefined,
          "Unpacked manifest hash": entry.unpacked_hash ?? undefined,
          "Copy for everybody": entry.cached?.reference,
        });
        const files = table(
          ["FILE", "SIZE", "HASH"],
          entry.files.map((file) => [
            file.path,
            file.size === null ? "-" : bytes(file.size),
            file.sha256 === null ? `md5 ${file.md5} (does not verify)` : `sha256 ${file.sha256}`,
          ]),
        );
        return entry.files.length === 0 ? head : `${head}\n\n${files}`;
      });
    });
}

interface AddOptions {
  readonly release: string;
  readonly url: string;
  readonly verifiedBy: string;
  readonly licence?: string;
  readonly recipe?: string;
  readonly hash?: string;
  readonly files?: readonly string[];
}

function registerManage(registry: Command): void {
  registry
    .command("add")
    .description(
      "Add an entry (administrators): from files that you hold and trust, or from a manifest's hash",
    )
    .argument("<name>")
    .requiredOption("--release <version>", "which form of the dataset, for example python or 1.0")
    .requiredOption("--url <address>", "where it is published")
    .requiredOption("--verified-by <names>", "who vouches for the hashes, with commas between them")
    .option("--files <file...>", "the published files; their SHA-256 and size are computed here")
    .option("--hash <blake3>", "manifest hash of a dataset of these files")
    .option("--recipe <recipe>", "how the files are taken apart: tar, gzip or idx")
    .option("--licence <name>")
    .action(async (name: string, options: AddOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const entry: NewPublicDataset = {
        name,
        version: options.release,
        official_url: options.url,
        verified_by: options.verifiedBy.split(",").map((each) => each.trim()),
        files: await Promise.all((options.files ?? []).map(published)),
        ...(options.licence !== undefined && { license: options.licence }),
        ...(options.recipe !== undefined && { recipe: options.recipe }),
        ...(options.hash !== undefined && { official_hash: options.hash }),
      };
      const added = await client.registry.add(entry);
      output.result(added, () =>
        fields(`Added to the public registry: ${added.name} (${added.version})`, {
          Files: added.files.length || undefined,
          "Manifest hash": added.official_hash ?? undefined,
        }),
      );
    });

  registry
    .command("remove")
    .description("Remove an entry (administrators); what it verified is no longer verified")
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      await client.registry.remove(name);
      output.result({ removed: name }, () => `Removed from the public registry: ${name}`);
    });

  registry
    .command("import")
    .description("Make a dataset of stored objects that equal an entry, open to every user (administrators)")
    .argument("<name>", "of the entry")
    .argument("<dataset>", "name of the dataset")
    .requiredOption("--files <bucket/glob...>", "which objects; quote the globs")
    .requiredOption("--schema <json>", "what the items are, as JSON or @file")
    .action(
      async (
        name: string,
        dataset: string,
        options: { files: readonly string[]; schema: string },
        command: Command,
      ) => {
        const { client, output } = contextOf(command);
        const request = {
          name: dataset,
          files: options.files,
          schema: await parseSchemaOption(options.schema),
        };
        const progress = new Progress(output, "Importing");
        const id = await withProgress(progress, () =>
          client.registry.import(name, request, {
            onProgress: (job) => progress.update(job.done, job.total),
          }),
        );
        const created = await client.datasets.get(id);
        output.result(created, () =>
          summary(`Imported: ${created.name} (version ${created.version})`, created),
        );
      },
    );

  registry
    .command("open")
    .description("Let every user stream a verified dataset of yours as the entry's copy (administrators)")
    .argument("<name>")
    .argument("[dataset]", "leave it out to close the copy again")
    .action(async (name: string, dataset: string | undefined, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const entry = await client.registry.setCachedCopy(name, dataset ?? null);
      output.result(entry, () =>
        entry.cached === null
          ? `${entry.name} (${entry.version}) has no copy here`
          : `${entry.name} (${entry.version}) is open to every user as ${entry.cached.reference}`,
      );
    });
}

async function published(file: string): Promise<{ path: string; sha256: string; size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of createReadStream(file) as AsyncIterable<Buffer>) {
    hash.update(piece);
    size += piece.length;
  }
  return { path: basename(file), sha256: hash.digest("hex"), size };
}

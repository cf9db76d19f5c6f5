import type { Command } from "commander";
import type { Dataset, VerifyDepth } from "../../client/datasets.ts";
import { invalidArgument } from "../../core/errors.ts";
import { contextOf } from "../context.ts";
import { parseSchemaOption, summary } from "../dataset-text.ts";
import { registerUnpack } from "./unpack.ts";
import { durationSeconds } from "../duration.ts";
import { bytes, fields, shortHash, time } from "../output.ts";
import { Progress, withProgress } from "../progress.ts";
import { registerAttest } from "./attestors.ts";
import { registerSigning } from "./signing.ts";
import { registerShares } from "./shares.ts";
import { registerTokens } from "./tokens.ts";

export function registerDataset(program: Command): void {
  const dataset = program.command("dataset").description("Create, inspect and verify datasets");
  registerCreate(dataset);
  registerInspect(dataset);
  registerVerify(dataset);
  registerUnpack(dataset);
  registerSigning(dataset);
  registerAttest(dataset);
  registerToken(dataset);
  registerTokens(dataset);
  registerShares(dataset);
}

interface CreateOptions {
  readonly files: readonly string[];
  readonly schema: string;
  readonly description?: string;
}

function registerCreate(dataset: Command): void {
  dataset
    .command("create")
    .description("Create a dataset, or a new version of one, from stored objects")
    .argument("<name>")
    .requiredOption("--files <bucket/glob...>", "which objects; quote the globs")
    .requiredOption("--schema <json>", "what the items are, as JSON or @file")
    .option("--description <text>")
    .action(async (name: string, options: CreateOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const schema = await parseSchemaOption(options.schema);
      const progress = new Progress(output, "Creating");
      const created = await withProgress(progress, () =>
        client.datasets.create(
          {
            name,
            files: options.files,
            schema,
            ...(options.description === undefined ? {} : { description: options.description }),
          },
          { onProgress: (job) => progress.update(job.done, job.total) },
        ),
      );
      output.result(created, () =>
        summary(`Created dataset: ${created.name} (version ${created.version})`, created),
      );
    });
}

const DATASET_HEAD = ["NAME", "VERSION", "OWNER", "FILES", "SIZE", "TRUST", "HASH"] as const;

function datasetRow(each: Dataset): (string | number)[] {
  return [
    each.name,
    each.version,
    each.owner,
    each.file_count,
    bytes(each.total_size_bytes),
    each.trust,
    shortHash(each.content_hash),
  ];
}

interface ListOptions {
  readonly search?: string;
  readonly maxTrustLevel?: number;
  readonly public?: boolean;
}

function registerInspect(dataset: Command): void {
  dataset
    .command("list")
    .description("List your datasets and those shared with you, by their newest version")
    .option("--search <text>", "part of the name")
    .option("--max-trust-level <0-4>", "leave out what is trusted less", Number)
    .option("--public", "the copies of published datasets instead, which every user may stream")
    .action(async ({ public: isPublic, ...filter }: ListOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const found = client.datasets.list({ ...filter, ...(isPublic && { visibility: "public" }) });
      await output.list("datasets", found, DATASET_HEAD, datasetRow);
    });

  dataset
    .command("versions")
    .description("List the versions of a dataset, newest first")
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      await output.list("versions", await client.datasets.versions(name), DATASET_HEAD, datasetRow);
    });

  dataset
    .command("info")
    .description("Show a dataset; NAME may be NAME@VERSION or NAME@blake3:HASH")
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const info = await client.datasets.get(name);
      output.result(info, () =>
        fields(`${info.name} (version ${info.version})`, {
          Id: info.id,
          Owner: info.owner,
          Description: info.description === "" ? undefined : info.description,
          Files: info.file_count,
          Size: bytes(info.total_size_bytes),
          Hash: info.content_hash,
          "Schema hash": info.schema_hash,
          Schema: JSON.stringify(info.schema),
          Trust: info.trust,
          Created: time(info.created_at),
        }),
      );
    });

  dataset
    .command("files")
    .description("List the files of a dataset in manifest order")
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      await output.longList(
        "files",
        client.datasets.files(name),
        (file) => `${file.content_hash}  ${bytes(file.size).padStart(9)}  ${file.path}`,
      );
    });

  dataset
    .command("delete")
    .description("Delete a dataset version")
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      await client.datasets.delete(name);
      output.result({ deleted: name }, () => `Deleted dataset: ${name}`);
    });
}

function registerVerify(dataset: Command): void {
  dataset
    .command("verify")
    .description("Verify a dataset against its manifest")
    .argument("<name>")
    .option("--depth <depth>", "manifest, stored (hashes on record) or full (read every byte)", "stored")
    .action(async (name: string, options: { depth: string }, command: Command) => {
      const { client, output } = contextOf(command);
      if (!["manifest", "stored", "full"].includes(options.depth)) {
        throw invalidArgument("depth", "must be manifest, stored or full.");
      }
      output.note(`Verifying dataset: ${name}`);
      const progress = new Progress(output, "Verifying");
      const result = await withProgress(progress, () =>
        client.datasets.verify(name, {
          depth: options.depth as VerifyDepth,
          checkPublicRegistry: true,
          onProgress: (job) => progress.update(job.done, job.total),
        }),
      );
      output.result(result, () => {
        const lines = [
          `  Manifest hash: ${result.manifest_valid ? "valid" : "INVALID"}`,
          `  Files verified: ${result.files_checked - result.files_failed}/${result.files_checked}`,
          ...result.files.map(
            (file) => `    ${file.path}: expected ${file.expected_hash}, found ${file.actual_hash}`,
          ),
          `  Trust level: ${result.previous_trust}`,
          "",
          "Checking public registry...",
          result.public_match === null
            ? "  No match"
            : `  Match found: ${result.public_match.name} (verified by ${result.public_match.verified_by.join(", ")})`,
          ...(result.trust === result.previous_trust
            ? []
            : [`  Trust level upgraded: ${result.previous_trust} -> ${result.trust}`]),
        ];
        return lines.join("\n");
      });
      // Where only the manifest was asked for, no file was looked at, and none is valid or invalid.
      if (!result.manifest_valid || result.files_failed > 0) process.exitCode = 1;
    });
}

function registerToken(dataset: Command): void {
  dataset
    .command("token")
    .description("Create an access token for a dataset version, or revoke one")
    .argument("[name]")
    .option("--scopes <list>", "read, stream", "read,stream")
    .option("--ttl <duration>", "how long it is valid, for example 24h or 7d; at most 30d", "24h")
    .option("--node <name>", "bind the token to a training node")
    .option("--revoke <id>", "revoke the token with this id")
    .option("-q, --quiet", "print the new token alone, for scripts")
    .action(
      async (
        name: string | undefined,
        options: { scopes: string; ttl: string; node?: string; revoke?: string; quiet?: true },
        command: Command,
      ) => {
        const { client, output } = contextOf(command);
        if (options.revoke !== undefined) {
          const id = options.revoke;
          await client.datasets.revokeToken(id);
          output.result({ revoked: id }, () => `Access token revoked: ${id}`);
          return;
        }
        if (name === undefined)
          throw invalidArgument("name", "is missing: name a dataset, or give --revoke.");
        const token = await client.datasets.createToken(name, {
          scopes: options.scopes.split(",").map((scope) => scope.trim()),
          ttlSeconds: durationSeconds(options.ttl),
          ...(options.node === undefined ? {} : { node: options.node }),
        });
        output.result(token, () =>
          options.quiet === true
            ? token.token
            : fields("Access token created:", {
                Dataset: name,
                Node: options.node,
                Scopes: token.scopes.join(", "),
                Expires: time(token.expires_at),
                Id: token.id,
                Token: token.token,
              }),
        );
      },
    );
}

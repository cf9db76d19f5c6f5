import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { readReceipt, verifyReceipt } from "../../client/receipts.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { Receipt } from "../../core/stream/receipt.ts";
import { contextOf } from "../context.ts";
import { fields, Output, shortHash, table, time } from "../output.ts";

/** What `receipt get --to` writes, and `receipt verify` looks for beside the receipt. */
const FILES = { receipt: "receipt.json", jwks: "jwks.json", manifest: "manifest" } as const;

export function registerReceipt(program: Command): void {
  const receipt = program
    .command("receipt")
    .description("Fetch and verify signed receipts of what streams were sent");

  receipt
    .command("get")
    .description("Fetch the receipt of a stream; with --to, also what verifies it")
    .argument("<dataset>", "the version that was streamed, for example digits@1")
    .argument("<stream>", "the stream's id")
    .option("--to <folder>", `write ${Object.values(FILES).join(", ")}; default: print the receipt`)
    .action(async (dataset: string, stream: string, options: { to?: string }, command: Command) => {
      const { client, output } = contextOf(command);
      if (options.to === undefined) {
        const envelope = await client.receipts.get(dataset, stream);
        output.result(envelope, () => JSON.stringify(envelope));
        return;
      }
      const { envelope, jwks, manifest } = await client.receipts.evidence(dataset, stream);
      await mkdir(options.to, { recursive: true });
      await writeFile(join(options.to, FILES.receipt), `${JSON.stringify(envelope)}\n`);
      await writeFile(join(options.to, FILES.jwks), `${JSON.stringify(jwks)}\n`);
      await writeFile(join(options.to, FILES.manifest), manifest);
      output.result({ folder: options.to }, () =>
        summary(`Receipt of ${stream} in ${options.to}`, readReceipt(envelope)),
      );
    });

  receipt
    .command("verify")
    .description("Verify a receipt offline: its signature, and every transcript head from the manifest")
    .argument("<file>")
    .option(
      "--jwks <file>",
      `the gateway's keys, from where you trust them; default: ${FILES.jwks} beside it`,
    )
    .option("--manifest <file>", `the dataset's manifest; default: ${FILES.manifest} beside it`)
    .action(async (file: string, _options: unknown, command: Command) => {
      const options = command.optsWithGlobals<{ jwks?: string; manifest?: string; json?: boolean }>();
      const folder = dirname(file);
      const verified = await verifyReceipt({
        envelope: parseJson("file", await readOption("file", file)),
        jwks: parseJson("jwks", await readOption("jwks", options.jwks ?? join(folder, FILES.jwks))),
        manifest: await readOption("manifest", options.manifest ?? join(folder, FILES.manifest)),
      });
      const { receipt: content, keyId, headsChecked, consumerSignatures } = verified;
      const result = {
        valid: true,
        key_id: keyId,
        heads_checked: headsChecked,
        consumer_signatures: consumerSignatures,
        receipt: content,
      };
      new Output(options.json ?? false).result(result, () =>
        [
          summary("Receipt: valid", content, {
            "Signed by": keyId,
            "Heads recomputed": headsChecked,
            ...(consumerSignatures > 0 && { "Consumers' signatures": consumerSignatures }),
          }),
          segments(content),
          leases(content),
        ].join("\n\n"),
      );
    });
}

function summary(title: string, receipt: Receipt, more: Record<string, string | number> = {}): string {
  return fields(title, {
    Stream: receipt.stream_id,
    Dataset: String(receipt.parameters["dataset_id"]),
    Hash: shortHash(String(receipt.parameters["content_hash"])),
    Issuer: receipt.issuer,
    Issued: time(receipt.issued_at),
    Segments: receipt.segments.length,
    ...(receipt.omitted_leases > 0 && { "Leases left out": receipt.omitted_leases }),
    ...more,
  });
}

function segments(receipt: Receipt): string {
  return table(
    ["EPOCH", "RANK", "WORLD", "START", "ACKNOWLEDGED", "VOID", "HEAD"],
    receipt.segments.map((segment) => [
      segment.epoch,
      segment.rank,
      segment.world_size,
      segment.start_index,
      `${segment.acknowledged_batches} of ${segment.prepared_batches}`,
      segment.leases
        .flatMap(({ acknowledgement: ack }) =>
          ack?.void ? [`${ack.void.from_batch}–${ack.batches - 1} by lease ${ack.void.by_lease}`] : [],
        )
        .join(", "),
      segment.acknowledged_head === null ? "" : shortHash(segment.acknowledged_head),
    ]),
  );
}

/** So many leases are enough to look at; `--json` has them all. */
const LEASES_SHOWN = 20;

function leases(receipt: Receipt): string {
  const every = receipt.segments.flatMap((segment) => segment.leases.map((lease) => ({ ...lease, segment })));
  const newest = every.toSorted((a, b) => b.lease - a.lease).slice(0, LEASES_SHOWN);
  const shown = table(
    ["LEASE", "RANK", "ATTACHED", "FROM BATCH", "TOKEN", "NODE"],
    newest.map((each) => [
      each.lease,
      each.segment.rank,
      time(each.attached_at),
      each.first_batch,
      each.token_id,
      each.node_id ?? "",
    ]),
  );
  return every.length === newest.length ? shown : `${shown}\n… and ${every.length - newest.length} before`;
}

async function readOption(option: string, file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch {
    throw invalidArgument(option, `${file} cannot be read.`);
  }
}

function parseJson(option: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
  } catch {
    throw invalidArgument(option, "is not JSON.");
  }
}

import type { Command } from "commander";
import { type Evidence, statementOf } from "../../client/keys.ts";
import { toHex } from "../../core/bytes.ts";
import { DATASET_STATEMENT_TYPE, encodeDatasetStatement } from "../../core/trust/dataset-statement.ts";
import { signEnvelope } from "../../core/trust/dsse.ts";
import { contextOf } from "../context.ts";
import { fields, table, time } from "../output.ts";
import { askPassphrase } from "../passphrase.ts";
import { onlyKey, openKey } from "../private-key.ts";

function endOf({ expires_at, withdrawn_at }: Evidence): string {
  if (withdrawn_at !== null) return `withdrawn ${time(withdrawn_at)}`;
  return expires_at === null ? "never" : time(expires_at);
}

/** `dataset sign` and `dataset evidence`. */
export function registerSigning(dataset: Command): void {
  dataset
    .command("sign")
    .description("Sign a dataset version with a key of this machine")
    .argument("<name>")
    .option("--key <name>", "which key; needed where there are several")
    .action(async (name: string, options: { key?: string }, command: Command) => {
      const { client, output } = contextOf(command);
      const keyName = options.key ?? onlyKey();
      // Manifest and schema are fetched and hashed here: what is signed is what they are, not what a gateway says.
      const { info, pinned } = await client.openDataset(name);
      const key = await openKey(keyName, () => askPassphrase(`Passphrase of the key ${keyName}`));
      const statement = statementOf(info);
      const envelope = signEnvelope(DATASET_STATEMENT_TYPE, encodeDatasetStatement(statement), key);
      const signed = await client.keys.sign(info.id, envelope);
      const { trust } = await client.datasets.get(info.id);
      output.result({ ...signed, statement, pinned, trust }, () =>
        fields(`Signed: ${info.owner}/${info.name} (version ${info.version})`, {
          Key: `${keyName} (${toHex(key.publicKey)})`,
          Hash: info.content_hash,
          "Schema hash": info.schema_hash,
          Trust: trust,
        }),
      );
    });

  dataset
    .command("evidence")
    .description("List what speaks for a dataset version; signatures of known keys are verified here")
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const { info, signedBy } = await client.openDataset(name);
      const evidence: Evidence[] = [];
      for await (const each of client.keys.evidence(info.id)) evidence.push(each);
      output.result({ evidence, signed_by: signedBy ?? null }, () =>
        [
          table(
            ["KIND", "BY", "KEY", "CREATED", "EXPIRES", "GIVES YOU"],
            evidence.map((each) => [
              each.kind,
              each.created_by ?? "-",
              each.public_key ?? "-",
              time(each.created_at),
              endOf(each),
              each.trust,
            ]),
          ),
          signedBy === undefined
            ? "Verified here: no signature of a key in the known-keys file"
            : `Verified here: signed by ${signedBy}`,
        ].join("\n"),
      );
    });
}

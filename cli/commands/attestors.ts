import type { Command } from "commander";
import type { AttestorList } from "../../client/attestors.ts";
import { statementOf } from "../../client/keys.ts";
import { toHex } from "../../core/bytes.ts";
import { ATTESTATION_TYPE, encodeAttestation } from "../../core/trust/attestation-statement.ts";
import { signEnvelope } from "../../core/trust/dsse.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { type Context, contextOf } from "../context.ts";
import { durationSeconds } from "../duration.ts";
import { fields, table, time } from "../output.ts";
import { askPassphrase } from "../passphrase.ts";
import { onlyKey, openKey } from "../private-key.ts";

export function registerAttestors(program: Command): void {
  const attestors = program.command("attestors").description("Who may attest datasets of others");
  attestors
    .command("list")
    .description("Show the list of attestors")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const list = await client.attestors.list();
      output.result(list, () => shown(list));
    });

  attestors
    .command("add")
    .description("Put an attestor on the list (administrators)")
    .argument("<name>")
    .argument("<public-key>", "as `cyxcloud key list` shows it")
    .option("--ttl <duration>", "how long the new version of the list is in force", "365d")
    .action(async (name: string, publicKey: string, options: { ttl: string }, command: Command) => {
      const { client, output } = contextOf(command);
      const list = await client.attestors.add({ name, publicKey, ttlSeconds: durationSeconds(options.ttl) });
      output.result(list, () => shown(list));
    });

  attestors
    .command("remove")
    .description("Take an attestor off the list (administrators); what they vouched for counts no more")
    .argument("<public-key>")
    .action(async (publicKey: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const list = await client.attestors.remove(publicKey);
      output.result(list, () => shown(list));
    });

  attestors
    .command("renew")
    .description("Keep the list in force (administrators)")
    .option("--ttl <duration>", "from now on", "365d")
    .action(async (options: { ttl: string }, command: Command) => {
      const { client, output } = contextOf(command);
      const list = await client.attestors.renew(durationSeconds(options.ttl));
      output.result(list, () => shown(list));
    });
}

interface AttestOptions {
  readonly claim?: string;
  readonly key?: string;
  readonly ttl: string;
  readonly withdraw?: boolean;
}

/** `dataset attest`. */
export function registerAttest(dataset: Command): void {
  dataset
    .command("attest")
    .description("Vouch for a dataset version of somebody else, as an attestor, or take that back")
    .argument("<name>")
    .option("--claim <text>", "what you checked, for people to read")
    .option("--key <name>", "which key; needed where there are several")
    .option("--ttl <duration>", "how long you stand by it", "365d")
    .option("--withdraw", "take back what your keys attested of this version, for good")
    .action(async (name: string, options: AttestOptions, command: Command) => {
      if ((options.claim === undefined) === (options.withdraw !== true))
        throw invalidArgument("claim", "give either --claim TEXT or --withdraw.");
      const context = contextOf(command);
      return options.claim === undefined
        ? withdraw(context, name, options.key)
        : attest(context, name, { ...options, claim: options.claim });
    });
}

async function attest(
  { client, output }: Context,
  name: string,
  options: AttestOptions & { readonly claim: string },
): Promise<void> {
  const keyName = options.key ?? onlyKey();
  const seconds = durationSeconds(options.ttl);
  // Manifest and schema are fetched and hashed here: what is attested is what they are, not what a gateway says.
  const { info } = await client.openDataset(name);
  const key = await openKey(keyName, () => askPassphrase(`Passphrase of the key ${keyName}`));
  const issuedAt = Math.floor(Date.now() / 1000);
  const attestation = {
    ...statementOf(info),
    claim: options.claim,
    issued_at: issuedAt,
    expires_at: issuedAt + seconds,
  };
  const envelope = signEnvelope(ATTESTATION_TYPE, encodeAttestation(attestation), key);
  const recorded = await client.attestors.attest(info.id, envelope);
  const { trust } = await client.datasets.get(info.id);
  output.result({ ...recorded, attestation, trust }, () =>
    fields(`Attested: ${info.owner}/${info.name} (version ${info.version})`, {
      Claim: options.claim,
      Key: `${keyName} (${toHex(key.publicKey)})`,
      Hash: info.content_hash,
      Expires: time(new Date(attestation.expires_at * 1000).toISOString()),
      Trust: trust,
    }),
  );
}

/** Works without the private keys, which may be lost or stolen. @param keyName left out: whatever key of the caller. */
async function withdraw({ client, output }: Context, name: string, keyName?: string): Promise<void> {
  const info = await client.datasets.get(name);
  const mine = new Set<string>();
  for await (const key of client.keys.list())
    if (keyName === undefined || key.name === keyName) mine.add(key.public_key);
  const withdrawn: string[] = [];
  for await (const { id, kind, public_key, withdrawn_at } of client.keys.evidence(info.id)) {
    if (kind !== "attestation" || withdrawn_at !== null || public_key === null || !mine.has(public_key))
      continue;
    await client.attestors.withdraw(id);
    withdrawn.push(public_key);
  }
  if (withdrawn.length === 0)
    throw new DataStreamError("not_found", "There is no attestation of this version by a key of yours.");
  const { trust } = await client.datasets.get(info.id);
  output.result({ withdrawn, trust }, () =>
    fields(`Attestation withdrawn: ${info.owner}/${info.name} (version ${info.version})`, {
      Key: withdrawn.join(", "),
      Trust: trust,
    }),
  );
}

function shown(list: AttestorList): string {
  if (list.expires_at === null)
    return "There are no attestors yet. An administrator adds one with: cyxcloud attestors add";
  const head = fields(`Attestors (version ${list.version})`, {
    [list.in_force ? "In force until" : "EXPIRED at"]: time(list.expires_at),
  });
  const rows = list.attestors.map((each) => [each.name, each.public_key, each.added_in]);
  return `${head}\n${table(["NAME", "PUBLIC KEY", "SINCE VERSION"], rows)}`;
}

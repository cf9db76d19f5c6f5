import type { Command } from "commander";
import type { TrainingNode } from "../../client/nodes.ts";
import { DataStreamError } from "../../core/errors.ts";
import { contextOf } from "../context.ts";
import { fields, time } from "../output.ts";
import { createKey, deleteKey, storedKeys } from "../private-key.ts";

/** `node`. */
export function registerNodes(program: Command): void {
  const node = program.command("node").description("Training nodes that access tokens can be bound to");

  node
    .command("register")
    .description(
      "Create this machine's key and register it; the private key stays here. With --client-certificate: register that",
    )
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output, hasCertificate } = contextOf(command);
      if (hasCertificate) {
        const registered = await client.nodes.register(name);
        output.result(registered, () =>
          fields(`Training node registered: ${name}`, {
            "SHA-256 of the certificate": registered.certificate_sha256 ?? undefined,
            Id: registered.id,
          }),
        );
        return;
      }
      const { key, stored } = createKey(name, "", "nodes");
      let registered: TrainingNode;
      try {
        registered = await client.nodes.register(name, key);
      } catch (error) {
        deleteKey(name, "nodes"); // a key that nobody can know is of no use
        throw error;
      }
      output.result({ ...registered, file: stored.file }, () =>
        fields(`Training node registered: ${name}`, {
          "Public key": registered.public_key ?? undefined,
          File: stored.file,
          Id: registered.id,
        }),
      );
    });

  node
    .command("list")
    .description("List your training nodes")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      await output.list("nodes", client.nodes.list(), ["NAME", "PROOF", "CREATED", "STATE", "ID"], (each) => [
        each.name,
        each.public_key === null ? "certificate" : "key",
        time(each.created_at),
        each.revoked_at === null ? "valid" : `revoked ${time(each.revoked_at)}`,
        each.id,
      ]);
    });

  node
    .command("revoke")
    .description(
      "Revoke a training node, with every token that is bound to it; a key of it on this machine is deleted",
    )
    .argument("<node>", "name or id")
    .action(async (reference: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      for await (const each of client.nodes.list()) {
        if (each.revoked_at !== null || (each.id !== reference && each.name !== reference)) continue;
        await client.nodes.revoke(each.id);
        const publicKey = each.public_key && Buffer.from(each.public_key, "base64url").toString("hex");
        const stored = storedKeys("nodes").find((key) => key.publicKey === publicKey);
        if (stored !== undefined) deleteKey(stored.name, "nodes");
        output.result({ revoked: each.id }, () => `Training node revoked: ${each.name}`);
        return;
      }
      throw new DataStreamError("not_found", "node: you have no training node of this name or id.", {
        details: { field: "node" },
      });
    });
}

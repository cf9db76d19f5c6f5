import type { Command } from "commander";
import type { Share, SharePermission } from "../../client/shares.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { contextOf } from "../context.ts";
import { durationSeconds } from "../duration.ts";
import { fields, time } from "../output.ts";

interface ShareCommandOptions {
  readonly with: string;
  readonly permissions: string;
  readonly reshare?: boolean;
  readonly ttl?: string;
}

/** `dataset share`, `dataset shares` and `dataset unshare`. */
export function registerShares(dataset: Command): void {
  dataset
    .command("share")
    .description("Share a dataset version with another user, in place of what they had from you")
    .argument("<name>")
    .requiredOption("--with <user>", "name, id or verified e-mail address of the user")
    .option("--permissions <list>", "read, stream", "read,stream")
    .option("--reshare", "let them pass it on")
    .option("--ttl <duration>", "how long, for example 24h or 30d; default: as long as your own access")
    .action(async (name: string, options: ShareCommandOptions, command: Command) => {
      const { client, output } = contextOf(command);
      const permissions = options.permissions.split(",").map((each) => each.trim()) as SharePermission[];
      if (options.reshare === true) permissions.push("reshare");
      const share = await client.shares.create(name, {
        user: options.with,
        permissions,
        ...(options.ttl === undefined
          ? {}
          : { expiresAt: new Date(Date.now() + durationSeconds(options.ttl) * 1000) }),
      });
      output.result(share, () =>
        fields(`Shared dataset: ${name}`, {
          User: share.user,
          Permissions: share.permissions.join(", "),
          Expires: share.expires_at === null ? "never" : time(share.expires_at),
          Id: share.id,
        }),
      );
    });

  dataset
    .command("shares")
    .description("List the shares of a dataset version")
    .argument("<name>")
    .action(async (name: string, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      await output.list(
        "shares",
        client.shares.list(name),
        ["USER", "PERMISSIONS", "FROM", "EXPIRES", "ID"],
        (each) => [
          each.user,
          each.permissions.join(", "),
          each.granted_by,
          each.expires_at === null ? "never" : time(each.expires_at),
          each.id,
        ],
      );
    });

  dataset
    .command("unshare")
    .description("Take shares back: the one with an id, or all that a user has from you")
    .argument("<name>")
    .option("--with <user>", "the user as you gave it: name, id or e-mail address")
    .option("--id <id>", "id of the share")
    .action(async (name: string, options: { with?: string; id?: string }, command: Command) => {
      const { client, output } = contextOf(command);
      if ((options.with === undefined) === (options.id === undefined))
        throw invalidArgument("with", "give either --with USER or --id ID.");
      const ended: Share[] = [];
      for await (const each of client.shares.list(name))
        if (options.with === undefined ? options.id === each.id : isWith(each, options.with))
          ended.push(each);
      if (ended.length === 0)
        throw new DataStreamError("not_found", "There is no such share that you can see.");
      for (const share of ended) await client.shares.remove(share.id);
      output.result({ ended }, () =>
        ended.map((share) => `Share ended: ${share.user} (${share.permissions.join(", ")})`).join("\n"),
      );
    });
}

/** @param reference name, id or e-mail address; the gateway keeps the last two in lower case. */
function isWith(share: Share, reference: string): boolean {
  return reference === share.user || [share.user, share.user_id].includes(reference.toLowerCase());
}

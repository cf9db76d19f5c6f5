import type { Command } from "commander";
import type { ListedToken } from "../../client/datasets.ts";
import { contextOf } from "../context.ts";
import { time } from "../output.ts";

/** `dataset tokens`. */
export function registerTokens(dataset: Command): void {
  dataset
    .command("tokens")
    .description("List access tokens that you may revoke: of one dataset version, or of all")
    .argument("[name]")
    .action(async (name: string | undefined, _options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      await output.list(
        "tokens",
        client.datasets.tokens(name),
        ["DATASET", "SCOPES", "NODE", "BY", "STATE", "ID"],
        (each) => [
          each.dataset,
          each.scopes.join(", "),
          each.node ?? "",
          each.issued_by,
          stateOf(each),
          each.id,
        ],
      );
    });
}

function stateOf(token: ListedToken): string {
  if (token.revoked_at !== null) return `revoked ${time(token.revoked_at)}`;
  const isOver = Date.parse(token.expires_at) <= Date.now();
  return `${isOver ? "expired" : "until"} ${time(token.expires_at)}`;
}

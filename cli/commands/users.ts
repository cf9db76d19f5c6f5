import type { Command } from "commander";
import type { Role } from "../../client/users.ts";
import { contextOf } from "../context.ts";
import { fields, time } from "../output.ts";

export function registerUsers(program: Command): void {
  program
    .command("whoami")
    .description("Show which user the API key belongs to")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const me = await client.users.me();
      output.result(me, () => fields(me.name, { Role: me.role, "E-mail": emailOf(me), Id: me.id }));
    });

  const user = program.command("user").description("Administer users");

  user
    .command("create <name>")
    .description("Create a user and print their first API key, once")
    .option("--role <role>", "owner or admin", "owner")
    .action(async (name: string, { role }: { role: string }, command: Command) => {
      const { client, output } = contextOf(command);
      const created = await client.users.create(name, role as Role);
      output.result(created, () =>
        fields(`User created: ${name}`, { Role: created.role, "API key (shown once)": created.api_key.key }),
      );
    });

  user
    .command("list")
    .description("List the users")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      await output.list("users", client.users.list(), ["NAME", "ROLE", "CREATED", "E-MAIL"], (each) => [
        each.name,
        each.role,
        time(each.created_at),
        emailOf(each) ?? "",
      ]);
    });

  user
    .command("verify <name>")
    .description("Vouch for a user's e-mail address, so that shares with it reach them")
    .option("--email <address>", "which one is theirs; default: the one that they chose")
    .action(async (name: string, { email }: { email?: string }, command: Command) => {
      const { client, output } = contextOf(command);
      const verified = await client.users.verifyEmail(name, email);
      output.result(verified, () =>
        fields(`E-mail address verified: ${verified.email}`, { User: verified.user }),
      );
    });

  registerApiKeys(program);
}

function emailOf(user: { email: string | null; email_verified: boolean }): string | undefined {
  return user.email === null ? undefined : `${user.email}${user.email_verified ? "" : " (not verified)"}`;
}

function registerApiKeys(program: Command): void {
  const apiKey = program.command("api-key").description("Manage API keys");
  const ofUser = "whose key; administrators may name anyone";

  apiKey
    .command("create <name>")
    .description("Create an API key and print it, once")
    .option("--user <name>", ofUser, "me")
    .action(async (name: string, { user }: { user: string }, command: Command) => {
      const { client, output } = contextOf(command);
      const created = await client.users.createApiKey(user, name);
      output.result(created, () =>
        fields(`API key created: ${name}`, { Id: created.id, "Key (shown once)": created.key }),
      );
    });

  apiKey
    .command("list")
    .description("List API keys, newest first")
    .option("--user <name>", ofUser, "me")
    .action(async ({ user }: { user: string }, command: Command) => {
      const { client, output } = contextOf(command);
      await output.list(
        "api_keys",
        client.users.apiKeys(user),
        ["ID", "NAME", "CREATED", "REVOKED"],
        (key) => [
          key.id,
          key.name,
          time(key.created_at),
          key.revoked_at === null ? "" : time(key.revoked_at),
        ],
      );
    });

  apiKey
    .command("revoke <id>")
    .description("Revoke an API key for good")
    .option("--user <name>", ofUser, "me")
    .action(async (id: string, { user }: { user: string }, command: Command) => {
      const { client, output } = contextOf(command);
      await client.users.revokeApiKey(user, id);
      output.result({ revoked: id }, () => `Revoked: ${id}`);
    });
}

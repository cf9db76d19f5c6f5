import type { Command } from "commander";
import { path } from "../../client/http.ts";
import { contextOf } from "../context.ts";
import { fields, table, time } from "../output.ts";

interface User {
  readonly id: string;
  readonly name: string;
  readonly role: string;
  readonly created_at: string;
}

interface NewKey {
  readonly id: string;
  readonly name: string;
  readonly key: string;
}

interface ApiKey {
  readonly id: string;
  readonly name: string;
  readonly created_at: string;
  readonly revoked_at: string | null;
}

type Gateway = ReturnType<typeof contextOf>["client"]["gateway"];

export function registerUsers(program: Command): void {
  program
    .command("whoami")
    .description("Show which user the API key belongs to")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const me = await client.gateway.json<User>("GET", "/api/users/me");
      output.result(me, () => fields(me.name, { Role: me.role, Id: me.id }));
    });

  const user = program.command("user").description("Administer users");

  user
    .command("create <name>")
    .description("Create a user and print their first API key, once")
    .option("--role <role>", "owner or admin", "owner")
    .action(async (name: string, { role }: { role: string }, command: Command) => {
      const { client, output } = contextOf(command);
      const created = await client.gateway.json<User & { api_key: NewKey }>("POST", "/api/users", {
        json: { name, role },
      });
      output.result(created, () =>
        fields(`User created: ${name}`, { Role: created.role, "API key (shown once)": created.api_key.key }),
      );
    });

  user
    .command("list")
    .description("List the users")
    .action(async (_options: unknown, command: Command) => {
      const { client, output } = contextOf(command);
      const users = await every<User>(client.gateway, "/api/users", "users");
      output.result({ users }, () =>
        table(
          ["NAME", "ROLE", "CREATED"],
          users.map((each) => [each.name, each.role, time(each.created_at)]),
        ),
      );
    });

  registerApiKeys(program);
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
      const created = await client.gateway.json<NewKey>("POST", path("api", "users", user, "api-keys"), {
        json: { name },
      });
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
      const keys = await every<ApiKey>(client.gateway, path("api", "users", user, "api-keys"), "api_keys");
      output.result({ api_keys: keys }, () =>
        table(
          ["ID", "NAME", "CREATED", "REVOKED"],
          keys.map((key) => [
            key.id,
            key.name,
            time(key.created_at),
            key.revoked_at === null ? "" : time(key.revoked_at),
          ]),
        ),
      );
    });

  apiKey
    .command("revoke <id>")
    .description("Revoke an API key for good")
    .option("--user <name>", ofUser, "me")
    .action(async (id: string, { user }: { user: string }, command: Command) => {
      const { client, output } = contextOf(command);
      await client.gateway.call("DELETE", path("api", "users", user, "api-keys", id));
      output.result({ revoked: id }, () => `Revoked: ${id}`);
    });
}

/** All pages of a list. */
async function every<T>(gateway: Gateway, route: string, name: string): Promise<T[]> {
  const all: T[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const query: string = cursor === "" ? "" : `?cursor=${encodeURIComponent(cursor)}`;
    const page = await gateway.json<Record<string, T[]> & { next_cursor: string | null }>(
      "GET",
      `${route}${query}`,
    );
    all.push(...(page[name] ?? []));
    cursor = page.next_cursor;
  }
  return all;
}

/** The sign-in library's storage, over the `Sql` port. A session's token is hashed on its way in. */
import { createAdapterFactory, type CleanedWhere } from "better-auth/adapters";
import {
  type Condition,
  deleteRows,
  findRows,
  insertRows,
  isSignInModel,
  type NewRow,
  type SignInModel,
  updateRows,
} from "../../catalog/sign-in.ts";
import { LIST_MAX_ENTRIES } from "../../core/limits.ts";
import type { Sql, SqlRow, SqlValue } from "../../core/ports.ts";
import { tokenHash } from "../tokens.ts";

type Fields = Record<string, unknown>;

/**
 * Of one call of the library. The library makes a user and then the account with the password; as our transactions
 * take all statements at once, the user waits for the account, so that neither is ever there without the other.
 */
export function signInAdapter(sql: Sql): ReturnType<typeof createAdapterFactory> {
  let unwritten: NewRow | undefined;
  return createAdapterFactory({
    config: { adapterId: "cyxcloud", usePlural: false, supportsJSON: false, transaction: false },
    adapter: () => ({
      async create<T extends Fields>({ model, data }: { model: string; data: T }): Promise<T> {
        const table = known(model);
        const row = { model: table, values: await stored(table, data) };
        if (table === "user") {
          unwritten = row;
          return restored(table, data, undefined) as T;
        }
        const rows = unwritten === undefined ? [row] : [unwritten, row];
        unwritten = undefined;
        return restored(table, await insertRows(sql, rows), data["token"]) as T;
      },
      async findOne<T>({ model, where }: { model: string; where: CleanedWhere[] }): Promise<T | null> {
        const table = known(model);
        const rows = await findRows(sql, table, await conditions(table, where), 1);
        return rows[0] === undefined ? null : (restored(table, rows[0], tokenOf(where)) as T);
      },
      async findMany<T>({
        model,
        where = [],
      }: {
        model: string;
        where?: CleanedWhere[] | undefined;
      }): Promise<T[]> {
        const table = known(model);
        const rows = await findRows(sql, table, await conditions(table, where), LIST_MAX_ENTRIES);
        return rows.map((row) => restored(table, row, undefined) as T);
      },
      async update<T>({
        model,
        where,
        update,
      }: {
        model: string;
        where: CleanedWhere[];
        update: T;
      }): Promise<T | null> {
        const table = known(model);
        const rows = await updateRows(
          sql,
          table,
          await conditions(table, where),
          await stored(table, update as Fields),
        );
        return rows[0] === undefined ? null : (restored(table, rows[0], tokenOf(where)) as T);
      },
      async updateMany({
        model,
        where,
        update,
      }: {
        model: string;
        where: CleanedWhere[];
        update: Fields;
      }): Promise<number> {
        const table = known(model);
        const rows = await updateRows(
          sql,
          table,
          await conditions(table, where),
          await stored(table, update),
        );
        return rows.length;
      },
      async delete({ model, where }: { model: string; where: CleanedWhere[] }): Promise<void> {
        const table = known(model);
        await deleteRows(sql, table, await conditions(table, where));
      },
      async deleteMany({ model, where }: { model: string; where: CleanedWhere[] }): Promise<number> {
        const table = known(model);
        return deleteRows(sql, table, await conditions(table, where));
      },
      async count({
        model,
        where = [],
      }: {
        model: string;
        where?: CleanedWhere[] | undefined;
      }): Promise<number> {
        const table = known(model);
        return (await findRows(sql, table, await conditions(table, where), LIST_MAX_ENTRIES)).length;
      },
    }),
  });
}

function known(model: string): SignInModel {
  if (!isSignInModel(model))
    throw new Error(`The sign-in library asked for ${model}, which nothing here uses.`);
  return model;
}

async function stored(model: SignInModel, fields: Fields): Promise<Record<string, SqlValue>> {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  const values = Object.fromEntries(entries.map(([field, value]) => [field, valueOf(value)]));
  if (model !== "session" || typeof fields["token"] !== "string") return values;
  return { ...values, tokenHash: await tokenHash(fields["token"]) };
}

async function conditions(model: SignInModel, where: readonly CleanedWhere[]): Promise<Condition[]> {
  return Promise.all(
    where.map(async ({ field, operator = "eq", value, connector }) => {
      if (connector === "OR") throw new Error("The sign-in library asked for one of several conditions.");
      if (model !== "session" || field !== "token") return { field, operator, value: valueOf(value) };
      return { field: "tokenHash", operator, value: await tokenHash(String(value)) };
    }),
  );
}

function tokenOf(where: readonly CleanedWhere[]): unknown {
  return where.find(({ field }) => field === "token")?.value;
}

/** Only who names a session's token gets it back. */
function restored(model: SignInModel, row: SqlRow, token: unknown): Fields {
  if (model === "user") return { ...row, image: null, updatedAt: row["createdAt"] };
  if (model === "session") return { ...row, token: token ?? "" };
  return row;
}

function valueOf(value: unknown): SqlValue {
  return value instanceof Date ? value.toISOString() : (value as SqlValue);
}

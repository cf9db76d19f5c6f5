/**
 * Users, accounts and sessions as the sign-in library asks for them: by model, field and condition. Only what is
 * listed here has a column; other fields of the library are not kept and read as null.
 */
import { DataStreamError } from "../core/errors.ts";
import { type Sql, SqlError, type SqlRow, type SqlStatement, type SqlValue } from "../core/ports.ts";

export type SignInModel = "user" | "account" | "session";

export interface Condition {
  readonly field: string;
  readonly operator: string;
  readonly value: SqlValue;
}

interface Table {
  readonly name: string;
  /** Field of the library → column. */
  readonly columns: Readonly<Record<string, string>>;
}

const TABLES: Readonly<Record<SignInModel, Table>> = {
  user: {
    name: "users",
    columns: {
      id: "id",
      name: "name",
      email: "email",
      emailVerified: "email_verified",
      role: "role",
      createdAt: "created_at",
    },
  },
  account: {
    name: "accounts",
    columns: {
      id: "id",
      userId: "user_id",
      providerId: "provider",
      accountId: "account_id",
      password: "password",
      createdAt: "created_at",
      updatedAt: "updated_at",
    },
  },
  session: {
    name: "sessions",
    columns: {
      id: "id",
      userId: "user_id",
      tokenHash: "token_hash",
      expiresAt: "expires_at",
      createdAt: "created_at",
      updatedAt: "updated_at",
    },
  },
};

const OPERATORS: Readonly<Record<string, string>> = {
  eq: "=",
  ne: "<>",
  lt: "<",
  lte: "<=",
  gt: ">",
  gte: ">=",
};

export function isSignInModel(model: string): model is SignInModel {
  return Object.hasOwn(TABLES, model);
}

export interface NewRow {
  readonly model: SignInModel;
  readonly values: Readonly<Record<string, SqlValue>>;
}

/**
 * Inserts all rows or none, and gives the last one back.
 * @throws DataStreamError `already_exists` for a name or e-mail address that is taken.
 */
export async function insertRows(sql: Sql, rows: readonly NewRow[]): Promise<SqlRow> {
  try {
    const inserted = await sql.transaction(rows.map(insertion));
    return inserted.at(-1)?.[0] as SqlRow;
  } catch (error) {
    if (!(error instanceof SqlError && error.state === "23505")) throw error;
    const field = error.constraint?.includes("email") === true ? "email" : "name";
    throw new DataStreamError("already_exists", `${field}: it is taken. Sign in, or choose another.`, {
      details: { field },
    });
  }
}

function insertion({ model, values }: NewRow): SqlStatement {
  const { name, columns } = TABLES[model];
  const kept = Object.entries(values).filter(([field]) => Object.hasOwn(columns, field));
  return {
    text: `INSERT INTO ${name} (${kept.map(([field]) => columns[field]).join(", ")})
      VALUES (${kept.map((_, index) => `$${index + 1}`).join(", ")}) RETURNING ${selection(model)}`,
    values: kept.map(([, value]) => value),
  };
}

export async function findRows(
  sql: Sql,
  model: SignInModel,
  conditions: readonly Condition[],
  limit: number,
): Promise<readonly SqlRow[]> {
  const where = whereOf(model, conditions, 2);
  return sql.query({
    text: `SELECT ${selection(model)} FROM ${TABLES[model].name} WHERE ${where.text} LIMIT $1`,
    values: [limit, ...where.values],
  });
}

/** @returns the rows as they are now. */
export async function updateRows(
  sql: Sql,
  model: SignInModel,
  conditions: readonly Condition[],
  values: Readonly<Record<string, SqlValue>>,
): Promise<readonly SqlRow[]> {
  const { name, columns } = TABLES[model];
  const kept = Object.entries(values).filter(([field]) => Object.hasOwn(columns, field));
  if (kept.length === 0) return findRows(sql, model, conditions, 1);
  const where = whereOf(model, conditions, kept.length + 1);
  return sql.query({
    text: `UPDATE ${name} SET ${kept.map(([field], index) => `${columns[field]} = $${index + 1}`).join(", ")}
      WHERE ${where.text} RETURNING ${selection(model)}`,
    values: [...kept.map(([, value]) => value), ...where.values],
  });
}

/** @returns how many there were. */
export async function deleteRows(
  sql: Sql,
  model: SignInModel,
  conditions: readonly Condition[],
): Promise<number> {
  const where = whereOf(model, conditions, 1);
  const rows = await sql.query({
    text: `DELETE FROM ${TABLES[model].name} WHERE ${where.text} RETURNING 1 AS one`,
    values: where.values,
  });
  return rows.length;
}

/** Gives a user an e-mail address and a password, or others than before, and ends every session. Another address is unverified. */
export async function putPassword(
  sql: Sql,
  { userId, email, password }: { readonly userId: string; readonly email: string; readonly password: string },
): Promise<void> {
  try {
    await sql.transaction([
      {
        text: "UPDATE users SET email = $2, email_verified = email_verified AND email = $2 WHERE id = $1",
        values: [userId, email],
      },
      {
        text: `INSERT INTO accounts (user_id, provider, account_id, password) VALUES ($1::uuid, 'credential', $1, $2)
               ON CONFLICT (provider, account_id) DO UPDATE SET password = EXCLUDED.password, updated_at = now()`,
        values: [userId, password],
      },
      { text: "DELETE FROM sessions WHERE user_id = $1", values: [userId] },
    ]);
  } catch (error) {
    if (!(error instanceof SqlError && error.state === "23505")) throw error;
    throw addressTaken();
  }
}

/**
 * Notes that the user's address is mailed now, unless that was less than `intervalSeconds` ago.
 * @returns the address; undefined when it is too soon, or there is none to verify.
 */
export async function noteVerificationMail(
  sql: Sql,
  userId: string,
  intervalSeconds: number,
): Promise<string | undefined> {
  const [row] = await sql.query({
    text: `UPDATE users SET verification_mailed_at = now() WHERE id = $1 AND email IS NOT NULL AND NOT email_verified
             AND (verification_mailed_at IS NULL OR verification_mailed_at < now() - $2::int * interval '1 second')
           RETURNING email`,
    values: [userId, intervalSeconds],
  });
  return row?.["email"] as string | undefined;
}

/**
 * Marks an address verified as this user's, and takes it from whoever claims it unverified.
 * @returns false when the user has another address.
 * @throws DataStreamError `already_exists` when somebody else's is verified.
 */
export async function verifyAddress(sql: Sql, userId: string, email: string): Promise<boolean> {
  try {
    const [, verified] = await sql.transaction([
      {
        text: `UPDATE users SET email = NULL WHERE email = $2 AND id <> $1 AND NOT email_verified
                 AND EXISTS (SELECT FROM users WHERE id = $1 AND (email IS NULL OR email = $2))`,
        values: [userId, email],
      },
      {
        text: `UPDATE users SET email = $2, email_verified = true
               WHERE id = $1 AND (email IS NULL OR email = $2) RETURNING id`,
        values: [userId, email],
      },
    ]);
    return verified?.length === 1;
  } catch (error) {
    if (!(error instanceof SqlError && error.state === "23505")) throw error;
    throw addressTaken();
  }
}

function addressTaken(): DataStreamError {
  return new DataStreamError("already_exists", "email: it belongs to another user.", {
    details: { field: "email" },
  });
}

/** @returns how many sessions had ended by themselves and are gone. */
export async function pruneSessions(sql: Sql, limit: number): Promise<number> {
  const rows = await sql.query({
    text: `DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < now() LIMIT $1)
           RETURNING 1 AS one`,
    values: [limit],
  });
  return rows.length;
}

function selection(model: SignInModel): string {
  return Object.entries(TABLES[model].columns)
    .map(([field, column]) => `${column} AS "${field}"`)
    .join(", ");
}

/** Conditions all hold. An unknown field or operator is an error of this program: nothing wider may match. */
function whereOf(
  model: SignInModel,
  conditions: readonly Condition[],
  firstParameter: number,
): { readonly text: string; readonly values: readonly SqlValue[] } {
  if (conditions.length === 0) throw new Error(`A statement on ${model} needs a condition.`);
  const parts = conditions.map(({ field, operator, value }, index) => {
    const column = TABLES[model].columns[field];
    const comparison = OPERATORS[operator];
    if (column === undefined || comparison === undefined || value === null)
      throw new Error(`The sign-in library asked for ${model}.${field} ${operator}.`);
    return `${column} ${comparison} $${firstParameter + index}`;
  });
  return { text: parts.join(" AND "), values: conditions.map(({ value }) => value) };
}

/** Who else may use a dataset version. */
import type { Sql, SqlStatement } from "../core/ports.ts";
import { statement } from "./sql.ts";

export interface NewShare {
  readonly datasetId: string;
  readonly userId: string;
  readonly permissions: readonly ("read" | "stream" | "reshare")[];
  /** Null: until it is withdrawn. */
  readonly expiresAt: Date | null;
}

/** Shares with a user, replacing what that user had. */
export async function putShare(sql: Sql, share: NewShare): Promise<void> {
  await sql.query(statement`
    INSERT INTO dataset_shares (dataset_id, shared_with_user_id, permissions, expires_at)
    VALUES (${share.datasetId}, ${share.userId}, ${share.permissions}::text[],
      ${share.expiresAt?.toISOString() ?? null}::timestamptz)
    ON CONFLICT (dataset_id, shared_with_user_id)
    DO UPDATE SET permissions = EXCLUDED.permissions, expires_at = EXCLUDED.expires_at`);
}

/** Tokens that the user issued stop working at once: every use looks for the share again. */
export function removeShareStatement(datasetId: string, userId: string): SqlStatement {
  return statement`
    DELETE FROM dataset_shares WHERE dataset_id = ${datasetId} AND shared_with_user_id = ${userId}`;
}

/** Receipts of streams whose sessions were forgotten. */
import type { Sql } from "../core/ports.ts";
import type { Envelope } from "../core/trust/dsse.ts";
import { statement } from "./sql.ts";

/** The stream as its session is named. */
export interface StreamName {
  readonly userId: string;
  readonly datasetId: string;
  readonly streamId: string;
}

/** Keeps a receipt; one of the same session is replaced. */
export async function keepReceipt(
  sql: Sql,
  { userId, datasetId, streamId }: StreamName,
  startedAt: string,
  envelope: Envelope,
): Promise<void> {
  await sql.query(statement`
    INSERT INTO stream_receipts (user_id, dataset_id, stream_id, started_at, envelope)
    VALUES (${userId}::uuid, ${datasetId}::uuid, ${streamId}, ${startedAt}::timestamptz, ${JSON.stringify(envelope)}::jsonb)
    ON CONFLICT (user_id, dataset_id, stream_id, started_at)
    DO UPDATE SET envelope = EXCLUDED.envelope, kept_at = now()`);
}

/** The receipt of the latest session of this name. */
export async function findReceipt(
  sql: Sql,
  { userId, datasetId, streamId }: StreamName,
): Promise<Envelope | undefined> {
  const [row] = await sql.query(statement`
    SELECT envelope FROM stream_receipts
    WHERE user_id = ${userId}::uuid AND dataset_id = ${datasetId}::uuid AND stream_id = ${streamId}
    ORDER BY started_at DESC LIMIT 1`);
  return row?.["envelope"] as Envelope | undefined;
}

/** POSTs with an idempotency key: who runs one, and what it answered. */
import { IDEMPOTENCY_LEASE_MS, IDEMPOTENCY_TTL_MS } from "../core/limits.ts";
import type { Sql } from "../core/ports.ts";
import { bytesOf, nullable, numberOf, statement } from "./sql.ts";

export interface IdempotentRequest {
  /** 32 bytes that only the caller can name. */
  readonly id: Uint8Array;
  readonly requestHash: Uint8Array;
  /** Random, of this one try. */
  readonly attempt: string;
}

export type Claim =
  /** Nobody else runs it: do, then `finishRequest` or `releaseRequest`. */
  | { readonly state: "claimed" }
  | { readonly state: "running"; readonly requestHash: Uint8Array }
  | {
      readonly state: "answered";
      readonly requestHash: Uint8Array;
      readonly status: number;
      readonly sealedAnswer: Uint8Array;
    };

/** Exactly one of concurrent claims gets `claimed`; a row past its time, or of a dead attempt, is taken over. */
export async function claimRequest(sql: Sql, request: IdempotentRequest): Promise<Claim> {
  const { id, requestHash, attempt } = request;
  const [claimed = [], found = []] = await sql.transaction([
    statement`
      INSERT INTO idempotent_requests AS r (id, request_hash, attempt) VALUES (${id}, ${requestHash}, ${attempt})
      ON CONFLICT (id) DO UPDATE
        SET request_hash = EXCLUDED.request_hash, attempt = EXCLUDED.attempt, status = NULL, sealed_answer = NULL,
          created_at = now()
        WHERE r.created_at < now() - ${IDEMPOTENCY_TTL_MS}::double precision * interval '1 ms'
          OR (r.status IS NULL AND r.request_hash = EXCLUDED.request_hash
            AND r.created_at < now() - ${IDEMPOTENCY_LEASE_MS}::double precision * interval '1 ms')
      RETURNING 1 AS one`,
    statement`SELECT request_hash, status, sealed_answer FROM idempotent_requests WHERE id = ${id}`,
  ]);
  const row = found[0];
  // Released between both statements: whoever held it is done, and the caller's next try will run it.
  if (claimed.length > 0 || row === undefined)
    return claimed.length > 0 ? { state: "claimed" } : { state: "running", requestHash };
  const status = nullable(numberOf)(row, "status");
  if (status === null) return { state: "running", requestHash: bytesOf(row, "request_hash") };
  return {
    state: "answered",
    requestHash: bytesOf(row, "request_hash"),
    status,
    sealedAnswer: bytesOf(row, "sealed_answer"),
  };
}

/** Keeps the answer, unless the attempt was taken for dead meanwhile. */
export async function finishRequest(
  sql: Sql,
  { id, attempt }: Pick<IdempotentRequest, "id" | "attempt">,
  answer: { readonly status: number; readonly sealed: Uint8Array },
): Promise<void> {
  await sql.query(statement`
    UPDATE idempotent_requests SET status = ${answer.status}, sealed_answer = ${answer.sealed}
    WHERE id = ${id} AND attempt = ${attempt}`);
}

/** Lets the next try run it again. */
export async function releaseRequest(
  sql: Sql,
  { id, attempt }: Pick<IdempotentRequest, "id" | "attempt">,
): Promise<void> {
  await sql.query(statement`DELETE FROM idempotent_requests WHERE id = ${id} AND attempt = ${attempt}`);
}

/** @returns how many rows were past their time and are gone. */
export async function pruneRequests(sql: Sql, limit: number): Promise<number> {
  const rows = await sql.query(statement`
    DELETE FROM idempotent_requests WHERE id IN (
      SELECT id FROM idempotent_requests
      WHERE created_at < now() - ${IDEMPOTENCY_TTL_MS}::double precision * interval '1 ms' LIMIT ${limit}
    ) RETURNING 1 AS one`);
  return rows.length;
}

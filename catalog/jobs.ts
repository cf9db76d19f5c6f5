/** Long work that its owner can watch: one row a job, written by the job's Durable Object alone. */
import type { ErrorDetails } from "../core/errors.ts";
import type { Sql, SqlRow, SqlStatement } from "../core/ports.ts";
import { dateOf, nullable, numberOf, statement, textOf } from "./sql.ts";

export type JobKind = "create_dataset" | "verify_dataset" | "unpack_dataset" | "import_public_dataset";
export type JobState = "queued" | "running" | "succeeded" | "failed";

export interface Job {
  readonly id: string;
  readonly kind: JobKind;
  readonly state: JobState;
  /** Units of work done; never goes back. */
  readonly done: number;
  /** Units in all; null until that is known. */
  readonly total: number | null;
  readonly result: Readonly<Record<string, unknown>> | null;
  readonly error: JobError | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Why a job failed, in the terms of `DataStreamError`. */
export interface JobError {
  readonly code: string;
  readonly message: string;
  readonly details: ErrorDetails;
}

export interface NewJob {
  readonly id: string;
  readonly ownerId: string;
  readonly kind: JobKind;
  /** A JSON value. */
  readonly input: unknown;
}

/** Does nothing when a job of that id exists: a job is announced again when the first answer was lost. */
export async function insertJob(sql: Sql, job: NewJob): Promise<void> {
  await sql.query(statement`
    INSERT INTO jobs (id, owner_id, kind, input)
    VALUES (${job.id}, ${job.ownerId}, ${job.kind}, ${JSON.stringify(job.input)}::jsonb)
    ON CONFLICT (id) DO NOTHING`);
}

/** Undefined when that owner has no such job. */
export async function findJob(sql: Sql, ownerId: string, id: string): Promise<Job | undefined> {
  const rows = await sql.query(statement`
    SELECT id, kind, state, done, total, result, error, created_at, updated_at
    FROM jobs WHERE id = ${id} AND owner_id = ${ownerId}`);
  return rows[0] && parseJob(rows[0]);
}

/** Where a page of jobs ended. */
export interface JobPosition {
  readonly createdAtMs: number;
  readonly id: string;
}

/** Newest first, to the millisecond. @param after the last job of the page before. */
export async function listJobs(
  sql: Sql,
  ownerId: string,
  page: { readonly after: JobPosition | undefined; readonly limit: number },
): Promise<readonly Job[]> {
  const after = page.after && new Date(page.after.createdAtMs).toISOString();
  const rows = await sql.query(statement`
    SELECT id, kind, state, done, total, result, error, created_at, updated_at
    FROM jobs
    WHERE owner_id = ${ownerId} AND (${after ?? null}::timestamptz IS NULL
      OR (date_trunc('milliseconds', created_at), id) < (${after ?? null}::timestamptz, ${page.after?.id ?? null}::uuid))
    ORDER BY date_trunc('milliseconds', created_at) DESC, id DESC
    LIMIT ${page.limit}`);
  return rows.map(parseJob);
}

/** Reports progress. A step that runs again after a crash cannot take it back, nor restart an ended job. */
export function progressStatement(id: string, done: number, total: number | null): SqlStatement {
  return statement`
    UPDATE jobs SET state = 'running', updated_at = now(), done = GREATEST(done, ${done}::int8),
      total = GREATEST(total, ${total}::int8, CASE WHEN COALESCE(total, ${total}::int8) IS NOT NULL THEN GREATEST(done, ${done}::int8) END)
    WHERE id = ${id} AND state IN ('queued', 'running')`;
}

/** Ends the job well; belongs into the transaction that makes its work visible. */
export function succeedStatement(id: string, result: unknown): SqlStatement {
  return statement`
    UPDATE jobs SET state = 'succeeded', done = COALESCE(total, done), result = ${JSON.stringify(result)}::jsonb,
      updated_at = now()
    WHERE id = ${id} AND state IN ('queued', 'running')`;
}

export function failStatement(id: string, error: JobError): SqlStatement {
  return statement`
    UPDATE jobs SET state = 'failed', error = ${JSON.stringify(error)}::jsonb, updated_at = now()
    WHERE id = ${id} AND state IN ('queued', 'running')`;
}

function parseJob(row: SqlRow): Job {
  return {
    id: textOf(row, "id"),
    kind: textOf(row, "kind") as JobKind,
    state: textOf(row, "state") as JobState,
    done: numberOf(row, "done"),
    total: nullable(numberOf)(row, "total"),
    result: row.result as Job["result"],
    error: row.error as JobError | null,
    createdAt: dateOf(row, "created_at"),
    updatedAt: dateOf(row, "updated_at"),
  };
}

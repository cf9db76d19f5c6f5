/** What users ask of datasets as a whole, the same for REST and for the datastream service. */
import { findBucket } from "../catalog/buckets.ts";
import { sweep, withdrawStatements } from "../catalog/dataset-building.ts";
import type { DatasetRow } from "../catalog/datasets.ts";
import { nextUnhashed } from "../catalog/registry-match.ts";
import { checkDatasetName } from "../core/dataset/name.ts";
import { parseSchema } from "../core/dataset/schema.ts";
import { invalidArgument } from "../core/errors.ts";
import { DATASET_DESCRIPTION_MAX_CHARS, JOB_STEP_FILES, VERIFY_INLINE_MAX_FILES } from "../core/limits.ts";
import type { Sql } from "../core/ports.ts";
import { isPlainText, quoted } from "../core/text.ts";
import type { CreateDatasetInput } from "../durable-objects/jobs/create-dataset.ts";
import { parseFileGlobs } from "../durable-objects/jobs/file-selection.ts";
import { runInline } from "../durable-objects/jobs/runner.ts";
import type { VerificationReport, VerifyDatasetInput } from "../durable-objects/jobs/verify-dataset.ts";
import type { Deps } from "./deps.ts";
import type { Invocation } from "./invocation.ts";
import { type StartJob, verifyProgram } from "./jobs.ts";

/** What a new version is made of, as it came in. */
export interface DatasetRequest {
  readonly name: string;
  readonly description: string;
  readonly files: readonly string[];
  /** JSON text or value. */
  readonly schema: unknown;
}

/**
 * Starts the job that creates the next version of a name.
 * @returns the job's id.
 * @throws `invalid_argument` naming the field, before anything is started.
 */
export async function startCreation(
  sql: Sql,
  startJob: StartJob,
  userId: string,
  request: DatasetRequest,
): Promise<string> {
  const input = await creationInput(sql, userId, request);
  const id = crypto.randomUUID();
  await startJob({ id, ownerId: userId, kind: "create_dataset", input });
  return id;
}

/** A checked request. @throws `invalid_argument` naming the field. */
export async function creationInput(
  sql: Sql,
  userId: string,
  request: DatasetRequest,
): Promise<CreateDatasetInput> {
  const { files } = request;
  const described = descriptionInput(request);
  const globs = parseFileGlobs(files);
  for (const [i, { bucket }] of globs.entries()) {
    if ((await findBucket(sql, userId, bucket)) === undefined)
      throw invalidArgument(`files[${i}]`, `you have no bucket ${quoted(bucket)}.`);
  }
  return { ...described, files };
}

/** The part of a request that says what the version is to be, apart from its files. */
export function descriptionInput(request: Omit<DatasetRequest, "files">): Omit<CreateDatasetInput, "files"> {
  const { name, description } = request;
  checkDatasetName(name);
  if (description.length > DATASET_DESCRIPTION_MAX_CHARS)
    throw invalidArgument("description", `has more than ${DATASET_DESCRIPTION_MAX_CHARS} characters.`, {
      limit: DATASET_DESCRIPTION_MAX_CHARS,
    });
  if (!isPlainText(description))
    throw invalidArgument("description", "contains a NUL or is not valid Unicode.");
  return { dataset_id: crypto.randomUUID(), name, description, schema: parseSchema(request.schema) };
}

export interface VerificationContext {
  readonly deps: Deps;
  readonly invocation: Invocation;
  readonly startJob: StartJob;
}

/** Verifies at once where that is quick, and by a job where it is not. */
export async function verifyDataset(
  { deps, invocation, startJob }: VerificationContext,
  userId: string,
  dataset: Pick<DatasetRow, "id" | "fileCount">,
  request: Omit<VerifyDatasetInput, "dataset_id">,
): Promise<{ readonly report: VerificationReport } | { readonly jobId: string }> {
  const input: VerifyDatasetInput = { dataset_id: dataset.id, ...request };
  const id = crypto.randomUUID();
  const isLong =
    request.depth === "full" ||
    dataset.fileCount > VERIFY_INLINE_MAX_FILES ||
    (request.check_public_registry && (await nextUnhashed(deps.sql, dataset.id, -1)) !== undefined);
  if (isLong) {
    await startJob({ id, ownerId: userId, kind: "verify_dataset", input });
    return { jobId: id };
  }
  const result = await runInline(verifyProgram(deps, invocation), { id, ownerId: userId, input });
  return { report: result as unknown as VerificationReport };
}

/** Takes a version away from everybody at once. @returns work that removes its rows; it may be cut off. */
export async function deleteDataset(sql: Sql, datasetId: string): Promise<() => Promise<void>> {
  await sql.transaction(withdrawStatements(datasetId));
  return () => sweepDatasets(sql);
}

/** Bounds one invocation: a hundred thousand files, which is seconds of work. The next one goes on. */
const SWEEPS = 20;

/** Removes rows that deleted datasets and failed jobs left. For the scheduled handler too. */
export async function sweepDatasets(sql: Sql): Promise<void> {
  for (let i = 0; i < SWEEPS; i++) if (!(await sweep(sql, JOB_STEP_FILES))) return;
}

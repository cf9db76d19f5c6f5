/** Verification of a dataset version against its manifest: the job, and the same within a request. */
import { readPaths, readRecords, readStoredRecords } from "../../catalog/dataset-manifest.ts";
import { type DatasetRow, findDataset } from "../../catalog/datasets.ts";
import { evidenceStatement, matchRegistry } from "../../catalog/registry-match.ts";
import { trustFor } from "../../core/access/trust.ts";
import { concatBytes, equalBytes, readU64, toHex, viewOf } from "../../core/bytes.ts";
import { MANIFEST_HEADER_BYTES, MANIFEST_RECORD_BYTES } from "../../core/dataset/manifest-format.ts";
import { Manifest, readManifestHeader } from "../../core/dataset/manifest.ts";
import { MANIFEST_PAGE_BYTES, PageTree } from "../../core/dataset/manifest-proof.ts";
import { trustLabel } from "../../core/dataset/trust.ts";
import { DataStreamError } from "../../core/errors.ts";
import {
  JOB_STEP_BYTES,
  JOB_STEP_FILES,
  MANIFEST_CHUNK_BYTES,
  VERIFY_MAX_LISTED_FAILURES,
} from "../../core/limits.ts";
import type { Blake3, Clock, Sql } from "../../core/ports.ts";
import { fromUtf8 } from "../../core/text.ts";
import { hashNext } from "./file-hashes.ts";
import type { InternalObjects } from "./internal-objects.ts";
import { PageValues } from "./manifest-stream.ts";
import { pageEntry, savedPages } from "./page-entries.ts";
import type { JobInfo, JobProgram, JobStorage, StepOutcome } from "./program.ts";

/** The manifest alone · and every record against the stored object it means · and every byte. */
export type VerifyDepth = "manifest" | "stored" | "full";

export interface VerifyDatasetInput {
  readonly dataset_id: string;
  readonly depth: VerifyDepth;
  readonly check_public_registry: boolean;
}

/** What the owner reads, as JSON. */
export interface VerificationReport {
  readonly dataset_id: string;
  readonly depth: VerifyDepth;
  readonly manifest_valid: boolean;
  readonly all_files_valid: boolean;
  readonly files_checked: number;
  readonly files_failed: number;
  /** The first 1,000 failures. An empty actual hash: the bytes could not be read. */
  readonly files: readonly FileFailure[];
  readonly public_match: {
    readonly name: string;
    readonly version: string;
    readonly verified_by: readonly string[];
  } | null;
  /** As it is now; a match with the registry counts from here on. */
  readonly trust_level: number;
  readonly trust: string;
  /** As it was before. */
  readonly previous_trust_level: number;
  readonly previous_trust: string;
  readonly verified_at: string;
}

export interface FileFailure {
  readonly path: string;
  readonly expected_hash: string;
  readonly actual_hash: string;
  readonly valid: false;
}

export interface VerifyDatasetDeps {
  readonly sql: Sql;
  readonly blake3: Blake3;
  readonly clock: Clock;
  readonly objects: InternalObjects;
  /**
   * Reads every byte of the files `from` to `from + count − 1`.
   * @returns the indices of those whose bytes cannot be had as the dataset recorded them.
   */
  unreadable(datasetId: string, from: number, count: number): Promise<readonly number[]>;
  /** Files looked at in one step. Default `JOB_STEP_FILES`. */
  readonly filesPerStep?: number;
}

export type VerifyDatasetState =
  /** SHA-256 of files that may be published ones and have none yet, `after` a file. */
  | { readonly phase: "hash"; readonly after: number }
  | { readonly phase: "manifest"; readonly offset: number }
  | { readonly phase: "files"; readonly from: number; readonly pathEnd: number; readonly failed: number };

type Job = JobInfo<VerifyDatasetInput>;
type Outcome = StepOutcome<VerifyDatasetState>;
type Saved = Pick<JobStorage, "get" | "list">;

const MANIFEST_FIRST: VerifyDatasetState = { phase: "manifest", offset: 0 };
const FAILURE = "failed/";
/** Manifests up to here are also parsed as a whole; of larger ones all records and paths are compared one by one. */
const PARSE_MAX_BYTES = 4 * MANIFEST_CHUNK_BYTES;

export class VerifyDataset implements JobProgram<VerifyDatasetInput, VerifyDatasetState> {
  readonly #deps: VerifyDatasetDeps;

  constructor(deps: VerifyDatasetDeps) {
    this.#deps = deps;
  }

  begin(job: Job): VerifyDatasetState {
    return job.input.check_public_registry ? { phase: "hash", after: -1 } : MANIFEST_FIRST;
  }

  async step(job: Job, state: VerifyDatasetState, saved: Saved): Promise<Outcome> {
    const found = await findDataset(this.#deps.sql, job.ownerId, { id: job.input.dataset_id });
    if (found === undefined)
      throw new DataStreamError("not_found", "The dataset was deleted while it was verified.");
    switch (state.phase) {
      case "hash":
        return this.#hash(found.dataset.id, state.after);
      case "manifest":
        return this.#manifest(job, found.dataset, state.offset, saved);
      case "files":
        return this.#files(job, found.dataset, state, saved);
    }
  }

  undo(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async #hash(datasetId: string, after: number): Promise<Outcome> {
    const hashed = await hashNext(this.#deps, datasetId, after);
    const state: VerifyDatasetState =
      hashed === undefined ? MANIFEST_FIRST : { phase: "hash", after: hashed };
    return { kind: "next", state, done: 0, total: null };
  }

  /** Hashes one part of the stored manifest, and judges it after the last. */
  async #manifest(job: Job, dataset: DatasetRow, offset: number, saved: Saved): Promise<Outcome> {
    const { manifestSizeBytes, fileCount } = dataset;
    const length = Math.min(PARSE_MAX_BYTES, manifestSizeBytes - offset);
    let values: Uint8Array;
    let head: Uint8Array;
    try {
      const part = await this.#read(dataset.manifestObjectId, offset, length);
      if (offset === 0) checkHead(part, dataset);
      const pages = new PageValues(this.#deps.blake3, offset);
      pages.update(part);
      values = pages.finish();
      head = part;
    } catch (error) {
      return this.#unlessPassing(error, job, dataset);
    }
    const total = job.input.depth === "manifest" ? null : fileCount;
    const end = offset + length;
    const entries = pageEntry(offset / PARSE_MAX_BYTES, values);
    if (end < manifestSizeBytes)
      return { kind: "next", state: { phase: "manifest", offset: end }, entries, done: 0, total };

    const all = concatBytes([savedPages(saved), values]);
    const pages = Math.ceil(manifestSizeBytes / MANIFEST_PAGE_BYTES);
    const { blake3 } = this.#deps;
    const hash = pages === 1 ? blake3.hash(head) : new PageTree(all, blake3).root;
    try {
      const tree = await this.#read(dataset.treeObjectId, 0, all.length);
      if (!equalBytes(hash, dataset.contentHash) || !equalBytes(tree, all)) throw broken("has another hash");
    } catch (error) {
      return this.#unlessPassing(error, job, dataset);
    }
    if (job.input.depth === "manifest")
      return this.#finish(job, dataset, { valid: true, checked: 0, failed: 0 }, saved);
    return {
      kind: "next",
      state: { phase: "files", from: 0, pathEnd: 0, failed: 0 },
      entries,
      done: 0,
      total,
    };
  }

  /** Compares some records with what is stored, and reads the files where that is asked for. */
  async #files(
    job: Job,
    dataset: DatasetRow,
    state: VerifyDatasetState & { phase: "files" },
    saved: Saved,
  ): Promise<Outcome> {
    const { from } = state;
    const count = await this.#batch(job.input.depth, dataset, from);
    const { sql } = this.#deps;
    const stored = await readStoredRecords(sql, dataset.id, from, count);
    const paths = await readPaths(sql, dataset.id, from, count);
    const records = await this.#read(
      dataset.manifestObjectId,
      MANIFEST_HEADER_BYTES + from * MANIFEST_RECORD_BYTES,
      count * MANIFEST_RECORD_BYTES,
    );
    const view = viewOf(records);
    const pathEnd = readU64(view, (count - 1) * MANIFEST_RECORD_BYTES) ?? 0;
    const pathsAt = MANIFEST_HEADER_BYTES + dataset.fileCount * MANIFEST_RECORD_BYTES;
    const pathBytes = await this.#read(
      dataset.manifestObjectId,
      pathsAt + state.pathEnd,
      pathEnd - state.pathEnd,
    );
    const unreadable =
      job.input.depth === "full"
        ? new Set(await this.#deps.unreadable(dataset.id, from, count))
        : new Set<number>();

    const entries: Record<string, FileFailure> = {};
    let failed = state.failed;
    for (let i = 0, start = state.pathEnd; i < count; i++) {
      const at = i * MANIFEST_RECORD_BYTES;
      const end = readU64(view, at) ?? start;
      const path = pathBytes.subarray(start - state.pathEnd, end - state.pathEnd);
      const expected = records.subarray(at + 16, at + MANIFEST_RECORD_BYTES);
      const file = stored[i];
      const valid =
        file !== undefined &&
        readU64(view, at + 8) === file.size &&
        equalBytes(expected, file.contentHash) &&
        equalBytes(path, paths[i] ?? new Uint8Array());
      start = end;
      if (valid && !unreadable.has(from + i)) continue;
      if (failed < VERIFY_MAX_LISTED_FAILURES) {
        const actual = file === undefined || valid ? "" : toHex(file.contentHash);
        entries[`${FAILURE}${String(failed).padStart(6, "0")}`] = {
          path: fromUtf8(path) ?? "",
          expected_hash: toHex(expected),
          actual_hash: actual,
          valid: false,
        };
      }
      failed++;
    }

    const done = from + count;
    if (done < dataset.fileCount) {
      return {
        kind: "next",
        state: { phase: "files", from: done, pathEnd, failed },
        entries,
        done,
        total: dataset.fileCount,
      };
    }
    return this.#finish(job, dataset, { valid: true, checked: done, failed }, saved, Object.values(entries));
  }

  /** How many files from `from` on one step takes: fewer when their bytes are read. */
  async #batch(depth: VerifyDepth, dataset: DatasetRow, from: number): Promise<number> {
    const most = Math.min(this.#deps.filesPerStep ?? JOB_STEP_FILES, dataset.fileCount - from);
    if (depth !== "full") return most;
    const records = await readRecords(this.#deps.sql, dataset.id, from, most);
    let bytes = 0;
    const over = records.findIndex(({ size }) => (bytes += size) > JOB_STEP_BYTES);
    return over < 0 ? most : Math.max(1, over);
  }

  async #read(objectId: string, offset: number, length: number): Promise<Uint8Array> {
    if (length === 0) return new Uint8Array();
    const bytes = new Uint8Array(length);
    let at = 0;
    for await (const piece of this.#deps.objects.read(objectId, { offset, length })) {
      bytes.set(piece, at);
      at += piece.length;
    }
    if (at !== length) throw broken("is shorter than recorded");
    return bytes;
  }

  /** A manifest that is lost or wrong is a finding; a node that does not answer is none. */
  #unlessPassing(error: unknown, job: Job, dataset: DatasetRow): Promise<Outcome> {
    if (!(error instanceof DataStreamError) || error.code !== "data_loss") throw error;
    return this.#finish(job, dataset, { valid: false, checked: 0, failed: 0 }, undefined);
  }

  async #finish(
    job: Job,
    dataset: DatasetRow,
    outcome: { readonly valid: boolean; readonly checked: number; readonly failed: number },
    saved: Saved | undefined,
    latest: readonly FileFailure[] = [],
  ): Promise<Outcome> {
    const { input, ownerId } = job;
    const { sql } = this.#deps;
    const previous = trustFor(dataset, ownerId).displayed;
    const sound = outcome.valid && outcome.failed === 0;
    const match = input.check_public_registry && sound ? await matchRegistry(sql, dataset.id) : undefined;
    let level = previous;
    if (match !== undefined) {
      await sql.query(evidenceStatement(dataset.id, match.id, ownerId));
      const now = await findDataset(sql, ownerId, { id: dataset.id });
      level = now === undefined ? previous : trustFor(now.dataset, ownerId).displayed;
    }
    const files = [...(saved?.list(FAILURE).map(([, failure]) => failure as FileFailure) ?? []), ...latest];
    const report: VerificationReport = {
      dataset_id: dataset.id,
      depth: input.depth,
      manifest_valid: outcome.valid,
      all_files_valid: outcome.valid && outcome.failed === 0 && input.depth !== "manifest",
      files_checked: outcome.checked,
      files_failed: outcome.failed,
      files,
      public_match: match
        ? { name: match.name, version: match.version, verified_by: match.verifiedBy }
        : null,
      trust_level: level,
      trust: trustLabel(level),
      previous_trust_level: previous,
      previous_trust: trustLabel(previous),
      verified_at: new Date(this.#deps.clock.now()).toISOString(),
    };
    return { kind: "finished", result: { ...report } };
  }
}

/** @throws `data_loss` when the first part is not the beginning of the dataset's manifest. */
function checkHead(part: Uint8Array, dataset: DatasetRow): void {
  const { count, totalSize } = readManifestHeader(part);
  if (count !== dataset.fileCount || totalSize !== dataset.totalSizeBytes)
    throw broken("describes other files");
  if (part.length === dataset.manifestSizeBytes) Manifest.parse(part);
}

function broken(what: string): DataStreamError {
  return new DataStreamError("data_loss", `The stored manifest ${what}.`, { details: { part: "manifest" } });
}

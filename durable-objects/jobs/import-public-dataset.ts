/** The job that makes a dataset of stored objects that equal a registry entry, and opens it to every user. */
import { evidenceStatement, matchRegistry } from "../../catalog/registry-match.ts";
import { cachedStatement } from "../../catalog/unpacking.ts";
import { fromHex } from "../../core/bytes.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import type { Sql } from "../../core/ports.ts";
import type { CreateDataset, CreateDatasetInput, CreateDatasetState } from "./create-dataset.ts";
import { hashNext } from "./file-hashes.ts";
import type { InternalObjects } from "./internal-objects.ts";
import type { JobInfo, JobProgram, JobStorage, StepOutcome } from "./program.ts";

export interface ImportPublicDatasetInput extends CreateDatasetInput {
  readonly public_dataset_id: string;
}

export interface ImportPublicDatasetDeps {
  readonly sql: Sql;
  readonly objects: InternalObjects;
  readonly create: CreateDataset;
}

export type ImportPublicDatasetState =
  | { readonly phase: "list" | "rest"; readonly inner: CreateDatasetState }
  /** The files are known and none is visible yet: compare them, computing SHA-256 where it is missing. */
  | { readonly phase: "compare"; readonly after: number; readonly inner: CreateDatasetState };

type Job = JobInfo<ImportPublicDatasetInput>;
type Outcome = StepOutcome<ImportPublicDatasetState>;
type Saved = Pick<JobStorage, "get" | "list">;

export class ImportPublicDataset implements JobProgram<ImportPublicDatasetInput, ImportPublicDatasetState> {
  readonly #deps: ImportPublicDatasetDeps;

  constructor(deps: ImportPublicDatasetDeps) {
    this.#deps = deps;
  }

  begin(): ImportPublicDatasetState {
    return { phase: "list", inner: this.#deps.create.begin() };
  }

  async step(job: Job, state: ImportPublicDatasetState, saved: Saved): Promise<Outcome> {
    if (state.phase === "compare") return this.#compare(job, state.after, state.inner);
    const outcome = await this.#deps.create.step(job, state.inner, saved);
    if (outcome.kind === "next") {
      const isListed = state.phase === "list" && outcome.state.phase === "open";
      const following: ImportPublicDatasetState = isListed
        ? { phase: "compare", after: -1, inner: outcome.state }
        : { phase: state.phase, inner: outcome.state };
      return { ...outcome, state: following };
    }
    const { public_dataset_id: entryId, dataset_id: id } = job.input;
    const contentHash = fromHex(String(outcome.result.content_hash));
    if (contentHash === undefined)
      throw new DataStreamError("internal", "The new dataset has no content hash.");
    const commit = [
      ...(outcome.commit ?? []),
      evidenceStatement(id, entryId, job.ownerId),
      cachedStatement(entryId, id, contentHash),
    ];
    return { ...outcome, commit };
  }

  undo(job: Job, saved: Saved): Promise<boolean> {
    const state = saved.get("state") as ImportPublicDatasetState | undefined;
    const ofInner: Saved = {
      get: (key) => (key === "state" ? state?.inner : saved.get(key)),
      list: (prefix) => saved.list(prefix),
    };
    return this.#deps.create.undo(job, ofInner);
  }

  async #compare(job: Job, after: number, inner: CreateDatasetState): Promise<Outcome> {
    const { public_dataset_id: entryId, dataset_id: id } = job.input;
    const hashed = await hashNext(this.#deps, id, after);
    if (hashed !== undefined)
      return { kind: "next", state: { phase: "compare", after: hashed, inner }, done: 0, total: null };
    if ((await matchRegistry(this.#deps.sql, id, entryId)) === undefined)
      throw invalidArgument(
        "files",
        "are not the published files of this entry: SHA-256, size or names differ.",
      );
    return { kind: "next", state: { phase: "rest", inner }, done: 0, total: null };
  }
}

/** The job that takes the published files of a dataset apart, and makes a dataset of what is in them. */
import { insertBuilding } from "../../catalog/dataset-building.ts";
import { findDataset } from "../../catalog/datasets.ts";
import { evidenceStatement, matchRegistry } from "../../catalog/registry-match.ts";
import type { Recipe } from "../../catalog/registry.ts";
import { publishedObjects, unpackedStatement } from "../../catalog/unpacking.ts";
import { fromHex } from "../../core/bytes.ts";
import type { DatasetSchema } from "../../core/dataset/schema.ts";
import { DataStreamError } from "../../core/errors.ts";
import { UNPACK_MAX_FILES, UNPACK_STEP_BYTES, UNPACK_STEP_FILES } from "../../core/limits.ts";
import type { Sql } from "../../core/ports.ts";
import type { ByteSource } from "../../storage/byte-source.ts";
import type { PartFile } from "../../storage/uploads/files-part.ts";
import {
  type CreateDataset,
  type CreateDatasetInput,
  type CreateDatasetState,
  listing,
} from "./create-dataset.ts";
import { hashNext } from "./file-hashes.ts";
import type { InternalObjects } from "./internal-objects.ts";
import type { JobInfo, JobProgram, JobStorage, StepOutcome } from "./program.ts";
import { type Archive, unpack, type UnpackedFile } from "./recipes.ts";
import type { UnpackedFiles } from "./unpacked-files.ts";

export interface UnpackDatasetInput {
  /** Id of the version to be. */
  readonly dataset_id: string;
  /** A version that equals the published files of a registry entry. */
  readonly source_id: string;
  readonly name: string;
  readonly description: string;
  readonly schema: DatasetSchema;
}

export interface UnpackDatasetDeps {
  readonly sql: Sql;
  readonly objects: InternalObjects;
  readonly files: UnpackedFiles;
  readonly create: CreateDataset;
  /** Files written in one step. Default `UNPACK_STEP_FILES`. */
  readonly filesPerStep?: number;
}

/** The entry whose files are unpacked. */
interface Subject {
  readonly entryId: string;
  readonly recipe: Recipe;
  readonly archives: readonly { readonly path: string; readonly objectId: string }[];
}

export type UnpackDatasetState =
  /** SHA-256 of files that have none yet. */
  | { readonly phase: "hash"; readonly after: number }
  | {
      readonly phase: "unpack";
      readonly subject: Subject;
      readonly uploadId: string;
      readonly parts: number;
      /** Files done. */
      readonly files: number;
    }
  | { readonly phase: "list" | "rest"; readonly subject: Subject; readonly inner: CreateDatasetState }
  /** Files `from` on are left to the dataset alone. */
  | {
      readonly phase: "release";
      readonly subject: Subject;
      readonly from: number;
      readonly inner: CreateDatasetState;
    };

type Job = JobInfo<UnpackDatasetInput>;
type Outcome = StepOutcome<UnpackDatasetState>;
type Saved = Pick<JobStorage, "get" | "list">;
type StateOf<Phase> = Extract<UnpackDatasetState, { readonly phase: Phase }>;

export class UnpackDataset implements JobProgram<UnpackDatasetInput, UnpackDatasetState> {
  readonly #deps: UnpackDatasetDeps;

  constructor(deps: UnpackDatasetDeps) {
    this.#deps = deps;
  }

  begin(): UnpackDatasetState {
    return { phase: "hash", after: -1 };
  }

  step(job: Job, state: UnpackDatasetState, saved: Saved): Promise<Outcome> {
    switch (state.phase) {
      case "hash":
        return this.#hash(job, state.after);
      case "unpack":
        return this.#unpack(job, state);
      case "release":
        return this.#release(job, state);
      case "list":
      case "rest":
        return this.#create(job, state, saved);
    }
  }

  async undo(job: Job, saved: Saved): Promise<boolean> {
    const state = saved.get("state") as UnpackDatasetState | undefined;
    const inner = state !== undefined && "inner" in state ? state.inner : undefined;
    const ofInner: Saved = {
      get: (key) => (key === "state" ? inner : saved.get(key)),
      list: (prefix) => saved.list(prefix),
    };
    if (await this.#deps.create.undo(creation(job), ofInner)) return true;
    const uploadId = state?.phase === "unpack" ? state.uploadId : undefined;
    return this.#deps.files.discard(job.ownerId, prefixOf(job), uploadId);
  }

  async #hash(job: Job, after: number): Promise<Outcome> {
    const { sql, files } = this.#deps;
    const { source_id, dataset_id, name, description, schema } = job.input;
    const source = await findDataset(sql, job.ownerId, { id: source_id });
    if (source === undefined)
      throw new DataStreamError("not_found", "The dataset was deleted before it was unpacked.");
    const hashed = await hashNext(this.#deps, source_id, after);
    if (hashed !== undefined) return next({ phase: "hash", after: hashed }, 0);

    const match = await matchRegistry(sql, source_id);
    if (match?.form !== "published" || match.recipe === null)
      throw new DataStreamError(
        "failed_precondition",
        match === undefined
          ? "The dataset equals no entry of the public registry, so nobody says how it is unpacked."
          : `The registry has no recipe that unpacks ${match.name}@${match.version} in this form.`,
      );
    const archives = await publishedObjects(sql, source_id, match.id);
    if (archives.length === 0)
      throw new DataStreamError(
        "failed_precondition",
        `The registry lists no files of ${match.name}@${match.version}.`,
      );
    await insertBuilding(sql, {
      id: dataset_id,
      ownerId: job.ownerId,
      jobId: job.id,
      name,
      description,
      schema,
    });
    const uploadId = await files.begin(job.ownerId, prefixOf(job));
    const subject: Subject = { entryId: match.id, recipe: match.recipe, archives };
    return next({ phase: "unpack", subject, uploadId, parts: 0, files: 0 }, 0);
  }

  /** Writes the next files: many small ones as a part of the upload, or one that is large or of unknown length. */
  async #unpack(job: Job, state: StateOf<"unpack">): Promise<Outcome> {
    const { files } = this.#deps;
    const { subject, uploadId, parts } = state;
    const source = this.#source(subject);
    try {
      let file = await source.next();
      for (let i = 0; i < state.files && file.done !== true; i++) file = await source.next();
      if (file.done === true) {
        if (state.files === 0)
          throw new DataStreamError("failed_precondition", "There is no file in the archives.");
        await files.complete(uploadId, parts);
        return next({ phase: "list", subject, inner: await this.#listing(job) }, state.files);
      }
      if (state.files >= UNPACK_MAX_FILES)
        throw new DataStreamError(
          "failed_precondition",
          `The archives hold more than ${UNPACK_MAX_FILES} files.`,
          {
            details: { limit: UNPACK_MAX_FILES },
          },
        );
      if (!isSmall(file.value)) {
        await files.putFile(job.ownerId, prefixOf(job) + file.value.path, piecesOf(file.value.source));
        return next({ ...state, files: state.files + 1 }, state.files + 1);
      }
      const taken = { files: 0 };
      const limit = this.#deps.filesPerStep ?? UNPACK_STEP_FILES;
      await files.putFiles(uploadId, parts + 1, takeSmall(file.value, source, limit, taken));
      const done = state.files + taken.files;
      return next({ ...state, parts: parts + 1, files: done }, done);
    } finally {
      await source.return(undefined);
    }
  }

  async #create(job: Job, state: StateOf<"list" | "rest">, saved: Saved): Promise<Outcome> {
    const { subject } = state;
    const outcome = await this.#deps.create.step(creation(job), state.inner, saved);
    if (outcome.kind === "next") {
      const isListed = state.phase === "list" && outcome.state.phase !== "list";
      const following: UnpackDatasetState = isListed
        ? { phase: "release", subject, from: 0, inner: outcome.state }
        : { phase: state.phase, subject, inner: outcome.state };
      return { ...outcome, state: following };
    }
    const contentHash = fromHex(String(outcome.result.content_hash));
    if (contentHash === undefined)
      throw new DataStreamError("internal", "The new dataset has no content hash.");
    return {
      ...outcome,
      commit: [
        ...(outcome.commit ?? []),
        unpackedStatement(subject.entryId, contentHash),
        evidenceStatement(job.input.dataset_id, subject.entryId, job.ownerId),
      ],
    };
  }

  async #release(job: Job, state: StateOf<"release">): Promise<Outcome> {
    const { from, subject, inner } = state;
    const released = await this.#deps.files.release(job.input.dataset_id, from);
    if (released === 0) return next({ phase: "rest", subject, inner }, 0);
    return next({ ...state, from: from + released }, 0);
  }

  #source({ recipe, archives }: Subject): AsyncGenerator<UnpackedFile> {
    const readable = archives.map<Archive>(({ path, objectId }) => ({
      path,
      read: () => this.#deps.objects.read(objectId),
    }));
    return unpack(recipe, readable);
  }

  async #listing(job: Job): Promise<CreateDatasetState> {
    const bucketId = await this.#deps.files.bucket(job.ownerId);
    return listing(creation(job).input, [{ bucketId, prefix: prefixOf(job) }]);
  }
}

function prefixOf({ input }: Job): string {
  return `${input.dataset_id}/`;
}

/** The same job as the creation of a dataset of the unpacked files. */
function creation(job: Job): JobInfo<CreateDatasetInput> {
  const { dataset_id, name, description, schema } = job.input;
  const files = [`unpacked/${prefixOf(job)}**`];
  return { id: job.id, ownerId: job.ownerId, input: { dataset_id, name, description, files, schema } };
}

function isSmall(file: UnpackedFile): file is PartFile & UnpackedFile {
  return file.size !== undefined && file.size <= UNPACK_STEP_BYTES;
}

/** Small files from `first` on while they fit into one part; `taken` counts them. */
async function* takeSmall(
  first: PartFile,
  rest: AsyncGenerator<UnpackedFile>,
  limit: number,
  taken: { files: number },
): AsyncGenerator<PartFile> {
  let bytes = first.size;
  yield first;
  taken.files = 1;
  while (taken.files < limit) {
    const { done, value: file } = await rest.next();
    if (done === true || !isSmall(file) || bytes + file.size > UNPACK_STEP_BYTES) return;
    bytes += file.size;
    yield file;
    taken.files++;
  }
}

async function* piecesOf(source: ByteSource): AsyncGenerator<Uint8Array> {
  for (;;) {
    const piece = new Uint8Array(256 * 1024);
    const length = await source.readInto(piece);
    if (length > 0) yield piece.subarray(0, length);
    if (length < piece.length) return;
  }
}

function next(state: UnpackDatasetState, done: number): Outcome {
  return { kind: "next", state, done, total: null };
}

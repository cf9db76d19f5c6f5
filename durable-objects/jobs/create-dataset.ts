/** The job that makes a dataset version out of stored objects. */
import { findBucket } from "../../catalog/buckets.ts";
import {
  commitStatements,
  insertBuilding,
  isBuilding,
  type KeySource,
  listCandidates,
  releaseBuilding,
  stageFiles,
  sweep,
} from "../../catalog/dataset-building.ts";
import { toHex } from "../../core/bytes.ts";
import type { ManifestHeader } from "../../core/dataset/manifest-format.ts";
import { checkPath } from "../../core/dataset/path.ts";
import { type DatasetSchema, parseSchema, schemaHash, withClasses } from "../../core/dataset/schema.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { JOB_STEP_FILES, SCHEMA_MAX_BYTES } from "../../core/limits.ts";
import type { Blake3, Sql } from "../../core/ports.ts";
import { compareUtf8, quoted, utf8 } from "../../core/text.ts";
import { commonFolder, compileGlobs, parseFileGlobs, planScans } from "./file-selection.ts";
import { type InternalObjects, manifestKey, pageTreeKey } from "./internal-objects.ts";
import { finishPages, pageEntry } from "./page-entries.ts";
import { MANIFEST_START, type ManifestPosition, ManifestStream, PageValues } from "./manifest-stream.ts";
import type { JobInfo, JobProgram, JobStorage, StepOutcome } from "./program.ts";

export interface CreateDatasetInput {
  /** Id of the version to be. */
  readonly dataset_id: string;
  readonly name: string;
  readonly description: string;
  /** `bucket/glob` texts. */
  readonly files: readonly string[];
  readonly schema: DatasetSchema;
}

export interface CreateDatasetDeps {
  readonly sql: Sql;
  readonly blake3: Blake3;
  readonly objects: InternalObjects;
  /** Objects looked at in one step. Default `JOB_STEP_FILES`. */
  readonly filesPerStep?: number;
}

interface Totals {
  readonly count: number;
  readonly totalSize: number;
  readonly maxItem: number;
  readonly pathBytes: number;
}

/** Finding files, in the order of their paths, page by page. */
interface Listing extends Totals {
  readonly phase: "list";
  readonly sources: readonly KeySource[];
  readonly after?: { readonly source: number; readonly key: string };
  readonly lastPath?: string;
  /** For each glob whether it matched anything yet. */
  readonly matched: readonly boolean[];
  /** Bytes of all class names found. */
  readonly classBytes: number;
}

/** Writing the manifest, part by part. */
interface Writing extends Totals {
  readonly phase: "write";
  readonly uploadId: string;
  readonly partBytes: number;
  readonly parts: number;
  readonly position: ManifestPosition;
}

export type CreateDatasetState =
  | { readonly phase: "plan" }
  | Listing
  | ({ readonly phase: "open" } & Totals)
  | Writing
  | ({ readonly phase: "commit"; readonly uploadId: string; readonly parts: number } & Totals);

type Job = JobInfo<CreateDatasetInput>;
type Outcome = StepOutcome<CreateDatasetState>;
type Saved = Pick<JobStorage, "get" | "list">;

/** Prefix of the storage keys that hold class names. */
const CLASS = "class/";

export class CreateDataset implements JobProgram<CreateDatasetInput, CreateDatasetState> {
  readonly #deps: CreateDatasetDeps;

  constructor(deps: CreateDatasetDeps) {
    this.#deps = deps;
  }

  begin(): CreateDatasetState {
    return { phase: "plan" };
  }

  step(job: Job, state: CreateDatasetState, saved: Saved): Promise<Outcome> {
    switch (state.phase) {
      case "plan":
        return this.#plan(job);
      case "list":
        return this.#list(job, state, saved);
      case "open":
        return this.#open(job, state);
      case "write":
        return this.#write(job, state);
      case "commit":
        return this.#commit(job, state, saved);
    }
  }

  async undo(job: Job, saved: Saved): Promise<boolean> {
    const { sql, objects } = this.#deps;
    const { dataset_id: id } = job.input;
    // A dataset whose commit went through and only the answer was lost stays.
    if (await isBuilding(sql, id, job.id)) {
      const state = saved.get("state") as CreateDatasetState | undefined;
      const uploadId = state !== undefined && "uploadId" in state ? state.uploadId : undefined;
      await objects.discard(job.ownerId, uploadId, [manifestKey(id), pageTreeKey(id)]);
      await releaseBuilding(sql, id);
    }
    return sweep(sql, JOB_STEP_FILES);
  }

  async #plan({ id, ownerId, input }: Job): Promise<Outcome> {
    const globs = parseFileGlobs(input.files);
    const sources: KeySource[] = [];
    for (const scan of planScans(globs)) {
      const bucket = await findBucket(this.#deps.sql, ownerId, scan.bucket);
      if (bucket === undefined)
        throw invalidArgument(
          `files[${Math.min(...scan.globs)}]`,
          `you have no bucket ${quoted(scan.bucket)}.`,
        );
      sources.push({ bucketId: bucket.id, prefix: scan.prefix });
    }
    const { dataset_id, name, description, schema } = input;
    await insertBuilding(this.#deps.sql, { id: dataset_id, ownerId, jobId: id, name, description, schema });
    return { kind: "next", state: listing(input, sources), done: 0, total: null };
  }

  async #list({ input }: Job, state: Listing, saved: Saved): Promise<Outcome> {
    const globs = parseFileGlobs(input.files);
    const scans = planScans(globs);
    const matchers = compileGlobs(globs);
    const folder = commonFolder(globs);
    const limit = this.#deps.filesPerStep ?? JOB_STEP_FILES;
    const candidates = await listCandidates(this.#deps.sql, state.sources, state.after, limit);

    const matched = [...state.matched];
    const chosen: string[] = [];
    const paths: string[] = [];
    let { totalSize, maxItem, pathBytes, lastPath } = state;
    for (const { objectId, source, key, size } of candidates) {
      const selecting = scans[source]?.globs.filter((glob) => matchers[glob]?.(key)) ?? [];
      if (selecting.length === 0) continue;
      for (const glob of selecting) matched[glob] = true;
      const path = key.slice(folder.length);
      checkPath(path, "files");
      if (path === lastPath) throw ambiguous(path);
      lastPath = path;
      chosen.push(objectId);
      paths.push(path);
      totalSize += size;
      maxItem = Math.max(maxItem, size);
      pathBytes += utf8(path).length;
    }
    const classes = newClasses(input.schema, paths, saved);
    const classBytes = classes.reduce((sum, name) => sum + utf8(name).length, state.classBytes);
    if (classBytes > SCHEMA_MAX_BYTES)
      throw invalidArgument("schema.labels", `the folders' names take more than ${SCHEMA_MAX_BYTES} bytes.`, {
        limit: SCHEMA_MAX_BYTES,
      });

    // Without files too: what a step that was cut off staged has to go.
    const staged = await stageFiles(this.#deps.sql, input.dataset_id, state.count, chosen, folder);
    if (staged !== chosen.length)
      throw new DataStreamError("aborted", "Objects were deleted while they were listed.");

    const totals: Totals = { count: state.count + staged, totalSize, maxItem, pathBytes };
    const entries = Object.fromEntries(classes.map((name) => [`${CLASS}${name}`, true]));
    const last = candidates.at(-1);
    if (last !== undefined && candidates.length === limit) {
      const after = { source: last.source, key: last.key };
      const next: Listing = {
        ...state,
        ...totals,
        after,
        matched,
        classBytes,
        ...(lastPath !== undefined && { lastPath }),
      };
      return { kind: "next", state: next, entries, done: totals.count, total: null };
    }
    const unmatched = matched.indexOf(false);
    if (unmatched >= 0)
      throw invalidArgument(
        `files[${unmatched}]`,
        `${quoted(input.files[unmatched] ?? "")} matches no stored object.`,
      );
    // Every file counts twice: once found, once written into the manifest.
    return {
      kind: "next",
      state: { phase: "open", ...totals },
      entries,
      done: totals.count,
      total: 2 * totals.count,
    };
  }

  async #open({ ownerId, input }: Job, state: CreateDatasetState & Totals): Promise<Outcome> {
    const { uploadId, partBytes } = await this.#deps.objects.begin(ownerId, manifestKey(input.dataset_id));
    const totals = totalsOf(state);
    const next: Writing = {
      phase: "write",
      ...totals,
      uploadId,
      partBytes,
      parts: 0,
      position: MANIFEST_START,
    };
    return { kind: "next", state: next, done: totals.count, total: 2 * totals.count };
  }

  async #write({ ownerId, input }: Job, state: Writing): Promise<Outcome> {
    const { uploadId, partBytes, parts, count } = state;
    const manifest = new ManifestStream(this.#deps.sql, input.dataset_id, headerOf(state));
    const offset = parts * partBytes;
    const length = Math.min(partBytes, manifest.byteLength - offset);
    const pages = new PageValues(this.#deps.blake3, offset);
    let position = state.position;
    const bytes = async function* (): AsyncGenerator<Uint8Array> {
      const reading = manifest.read(state.position, length);
      for (let piece = await reading.next(); ; piece = await reading.next()) {
        if (piece.done === true) {
          position = piece.value;
          return;
        }
        pages.update(piece.value);
        yield piece.value;
      }
    };
    const partNumber = parts + 1;
    await this.#deps.objects.putPart({ ownerId, uploadId, partNumber, bytes: bytes(), length });

    const written = offset + length;
    const complete = written === manifest.byteLength;
    return {
      kind: "next",
      state: complete
        ? { phase: "commit", ...totalsOf(state), uploadId, parts: partNumber }
        : { ...state, parts: partNumber, position },
      entries: pageEntry(parts, pages.finish()),
      done: count + Math.floor((count * written) / manifest.byteLength),
      total: 2 * count,
    };
  }

  async #commit(
    { id, ownerId, input }: Job,
    state: CreateDatasetState & { phase: "commit" },
    saved: Saved,
  ): Promise<Outcome> {
    const { sql, objects, blake3 } = this.#deps;
    const manifest = await objects.complete(ownerId, state.uploadId, state.parts);
    const result = {
      dataset_id: input.dataset_id,
      name: input.name,
      file_count: state.count,
      total_size_bytes: state.totalSize,
      content_hash: toHex(manifest.contentHash),
    };
    // The commit went through and only its answer was lost.
    if (!(await isBuilding(sql, input.dataset_id, id))) return { kind: "finished", result };
    const pageValues = finishPages(saved, manifest.contentHash, blake3);
    const tree = await objects.put(ownerId, pageTreeKey(input.dataset_id), pageValues);
    const schema = finalSchema(input.schema, saved);
    const commit = commitStatements({
      id: input.dataset_id,
      jobId: id,
      schema,
      schemaHash: schemaHash(schema, blake3),
      contentHash: manifest.contentHash,
      totalSizeBytes: state.totalSize,
      fileCount: state.count,
      maxItemBytes: state.maxItem,
      manifestObjectId: manifest.objectId,
      treeObjectId: tree.objectId,
    });
    return { kind: "finished", result, commit };
  }
}

/** Where finding files begins, for jobs that name the sources of the globs themselves and have made the dataset's row. */
export function listing({ files }: CreateDatasetInput, sources: readonly KeySource[]): CreateDatasetState {
  const totals: Totals = { count: 0, totalSize: 0, maxItem: 0, pathBytes: 0 };
  return { phase: "list", ...totals, sources, matched: files.map(() => false), classBytes: 0 };
}

function totalsOf({ count, totalSize, maxItem, pathBytes }: Totals): Totals {
  return { count, totalSize, maxItem, pathBytes };
}

function headerOf({ count, pathBytes, totalSize }: Totals): ManifestHeader {
  return { count, pathBytes, totalSize, customOrder: false };
}

/** Class names that these paths add; checks them against the creator's list where there is one. */
function newClasses(schema: DatasetSchema, paths: readonly string[], saved: Saved): readonly string[] {
  if (schema.labels !== "path" || paths.length === 0) return [];
  const { classes = [] } = withClasses(schema, paths);
  if (schema.classes !== undefined) return [];
  return classes.filter((name) => saved.get(`${CLASS}${name}`) === undefined);
}

function finalSchema(schema: DatasetSchema, saved: Saved): DatasetSchema {
  if (schema.labels !== "path" || schema.classes !== undefined) return schema;
  const classes = saved.list(CLASS).map(([key]) => key.slice(CLASS.length));
  return parseSchema({ ...schema, classes: classes.toSorted(compareUtf8) });
}

function ambiguous(path: string): DataStreamError {
  return invalidArgument(
    "files",
    `${quoted(path)} is in several buckets. Choose globs that give every file another path.`,
    {
      path,
    },
  );
}

/** Long work: what jobs are built from, and how one is started. */
import type { NewJob } from "../catalog/jobs.ts";
import type { JobServices } from "../durable-objects/dataset-job.ts";
import { CreateDataset } from "../durable-objects/jobs/create-dataset.ts";
import { ImportPublicDataset } from "../durable-objects/jobs/import-public-dataset.ts";
import {
  findUnreadable,
  StoredObjects,
  type StoredObjectsDeps,
} from "../durable-objects/jobs/stored-objects.ts";
import { UnpackDataset } from "../durable-objects/jobs/unpack-dataset.ts";
import { UnpackedFiles } from "../durable-objects/jobs/unpacked-files.ts";
import { VerifyDataset } from "../durable-objects/jobs/verify-dataset.ts";
import { type Deps, depsFrom } from "./deps.ts";
import type { Env } from "./env.ts";
import { type Invocation, openInvocation } from "./invocation.ts";
import { errorFields } from "./log.ts";

/** Announces the job and sets it going; when this returns it has a row that its owner can read. */
export type StartJob = (job: NewJob) => Promise<void>;

export function jobStarter(env: Pick<Env, "DATASET_JOBS">): StartJob {
  const namespace = env.DATASET_JOBS;
  return async (job) => {
    const stub = namespace.get(namespace.idFromName(job.id)) as unknown as { start: StartJob };
    await stub.start(job);
  };
}

/** The services of one invocation of a job's object. */
export async function jobServices(
  env: Env,
  waitUntil: (work: Promise<unknown>) => void,
): Promise<JobServices> {
  const deps = await depsFrom(env);
  const { sql } = deps;
  const invocation = openInvocation(deps, waitUntil);
  const stored = storedDeps(deps, invocation);
  const objects = new StoredObjects(stored);
  const create = new CreateDataset({ sql, blake3: deps.kernels.blake3, objects });
  return {
    sql,
    programs: {
      create_dataset: create,
      verify_dataset: verifyProgram(deps, invocation),
      unpack_dataset: new UnpackDataset({ sql, objects, create, files: new UnpackedFiles(stored) }),
      import_public_dataset: new ImportPublicDataset({ sql, objects, create }),
    },
    report: (job, error) =>
      deps.log.warn("job_step", { job_id: job.id, kind: job.kind, ...errorFields(error) }),
  };
}

/** For verifying within a request as well. */
export function verifyProgram(deps: Deps, invocation: Invocation): VerifyDataset {
  const stored = storedDeps(deps, invocation);
  return new VerifyDataset({
    sql: deps.sql,
    blake3: deps.kernels.blake3,
    clock: deps.clock,
    objects: new StoredObjects(stored),
    unreadable: (datasetId, from, count) => findUnreadable(stored, datasetId, from, count),
  });
}

export function storedObjects(deps: Deps, invocation: Invocation): StoredObjects {
  return new StoredObjects(storedDeps(deps, invocation));
}

function storedDeps({ sql, chunks }: Deps, { reads, writes }: Invocation): StoredObjectsDeps {
  return { sql, chunks, reads, uploads: writes };
}

import { DataStreamError } from "../core/errors.ts";
import { waitForJob, type JobOptions } from "./jobs.ts";
import { path, type Gateway } from "./http.ts";
import { all, pages } from "./pages.ts";

/** A dataset version, as the gateway describes it. Hashes are hexadecimal. */
export interface Dataset {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  readonly version: number;
  readonly parent_id: string | null;
  readonly description: string;
  readonly schema: Record<string, unknown>;
  readonly schema_hash: string;
  readonly content_hash: string;
  readonly total_size_bytes: number;
  readonly file_count: number;
  readonly max_item_bytes: number;
  readonly manifest_size_bytes: number;
  readonly trust_level: number;
  readonly trust: string;
  /** public: a copy of a published dataset, which every user may stream. */
  readonly visibility: "private" | "public";
  readonly created_at: string;
}

export interface DatasetFile {
  readonly index: number;
  readonly path: string;
  readonly size: number;
  readonly content_hash: string;
}

export interface CreateDataset {
  readonly name: string;
  /** Globs over stored objects, each `bucket/pattern`. */
  readonly files: readonly string[];
  readonly schema: Record<string, unknown>;
  readonly description?: string;
}

export interface Verification {
  readonly dataset_id: string;
  readonly manifest_valid: boolean;
  readonly all_files_valid: boolean;
  readonly files_checked: number;
  readonly files_failed: number;
  /** The first 1,000 failures. */
  readonly files: readonly { path: string; expected_hash: string; actual_hash: string; valid: boolean }[];
  readonly public_match: { name: string; version: string; verified_by: readonly string[] } | null;
  readonly trust: string;
  /** Before a match with the public registry counted. */
  readonly previous_trust: string;
  readonly verified_at: string;
}

export interface AccessToken {
  readonly id: string;
  readonly token: string;
  readonly dataset: string;
  readonly dataset_id: string;
  readonly scopes: readonly string[];
  readonly expires_at: string;
  /** Name of the training node that it is bound to. */
  readonly node: string | null;
}

/** A token as lists show it, without the token itself. */
export interface ListedToken {
  readonly id: string;
  readonly dataset_id: string;
  /** OWNER/NAME@VERSION */
  readonly dataset: string;
  readonly issued_by: string;
  /** Name of the training node that it is bound to. */
  readonly node: string | null;
  readonly scopes: readonly string[];
  readonly created_at: string;
  readonly expires_at: string;
  readonly revoked_at: string | null;
}

export type VerifyDepth = "manifest" | "stored" | "full";

/** Datasets and the tokens that open them. `reference`: UUID, `name`, `owner/name`, `name@version` or `name@blake3:HEX`. */
export class Datasets {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /** Creates a version of a dataset; a known name gets the next version. Resolves when the job is done. */
  async create(request: CreateDataset, options: JobOptions = {}): Promise<Dataset> {
    const { job_id } = await this.#gateway.json<{ job_id: string }>("POST", "/api/datasets", {
      json: request,
    });
    const { dataset_id } = await waitForJob<{ dataset_id: string }>(this.#gateway, job_id, options);
    return this.get(dataset_id);
  }

  get(reference: string): Promise<Dataset> {
    return this.#gateway.json<Dataset>("GET", path("api", "datasets", reference));
  }

  /** All versions of the dataset's name, newest first. */
  versions(reference: string): Promise<readonly Dataset[]> {
    return all(pages(this.#gateway, path("api", "datasets", reference, "versions"), "versions"));
  }

  /** Every dataset that the caller can see, by its newest version, page by page. */
  list(
    filter: {
      readonly search?: string;
      readonly maxTrustLevel?: number;
      /** The copies of published datasets instead, which every user may stream. */
      readonly visibility?: "public";
    } = {},
  ): AsyncGenerator<Dataset> {
    const { search, visibility, maxTrustLevel: max_trust_level } = filter;
    return pages(this.#gateway, "/api/datasets", "datasets", { search, visibility, max_trust_level });
  }

  /** Files in manifest order. */
  files(reference: string): AsyncGenerator<DatasetFile> {
    return pages(this.#gateway, path("api", "datasets", reference, "files"), "files", { limit: 1000 });
  }

  /** Deletes one version: of a name the newest. */
  async delete(reference: string): Promise<void> {
    // By id, because the call may be made again: without its newest version the name means the one before.
    const { id } = await this.get(reference);
    try {
      await this.#gateway.call("DELETE", path("api", "datasets", id));
    } catch (error) {
      // It was there, so an earlier call whose answer was lost has deleted it.
      if (!(error instanceof DataStreamError && error.code === "not_found")) throw error;
    }
  }

  async verify(
    reference: string,
    options: JobOptions & { depth?: VerifyDepth; checkPublicRegistry?: boolean } = {},
  ): Promise<Verification> {
    const answer = await this.#gateway.json<Verification | { job_id: string }>(
      "POST",
      path("api", "datasets", reference, "verify"),
      {
        json: {
          depth: options.depth ?? "stored",
          check_public_registry: options.checkPublicRegistry ?? false,
        },
        idempotent: true,
      },
    );
    return "job_id" in answer ? waitForJob<Verification>(this.#gateway, answer.job_id, options) : answer;
  }

  /** Unpacks a dataset of published archives by the registry's recipe, into a dataset of its own. */
  async unpack(
    reference: string,
    request: Omit<CreateDataset, "files">,
    options: JobOptions = {},
  ): Promise<Dataset> {
    const { job_id } = await this.#gateway.json<{ job_id: string }>(
      "POST",
      path("api", "datasets", reference, "unpack"),
      { json: request },
    );
    const { dataset_id } = await waitForJob<{ dataset_id: string }>(this.#gateway, job_id, options);
    return this.get(dataset_id);
  }

  /** The token is shown once; the gateway keeps its hash. Default lifetime 24 hours, at most 30 days. */
  createToken(
    reference: string,
    options: { scopes?: readonly string[]; ttlSeconds?: number; node?: string } = {},
  ): Promise<AccessToken> {
    return this.#gateway.json("POST", path("api", "datasets", reference, "tokens"), {
      json: {
        scopes: options.scopes ?? ["read", "stream"],
        ...(options.ttlSeconds === undefined ? {} : { ttl_seconds: options.ttlSeconds }),
        ...(options.node === undefined ? {} : { node: options.node }),
      },
    });
  }

  /** Tokens that the caller may revoke, newest first: all, or those of one dataset version. */
  tokens(reference?: string): AsyncGenerator<ListedToken> {
    return pages(this.#gateway, "/api/tokens", "tokens", { dataset: reference });
  }

  async revokeToken(id: string): Promise<void> {
    await this.#gateway.call("DELETE", path("api", "tokens", id));
  }
}

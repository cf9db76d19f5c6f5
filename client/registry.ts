import type { CreateDataset } from "./datasets.ts";
import { type JobOptions, waitForJob } from "./jobs.ts";
import { path, type Gateway } from "./http.ts";
import { pages } from "./pages.ts";

/** An entry of the public registry: one form in which a dataset was published. */
export interface PublicDataset {
  readonly id: string;
  readonly name: string;
  readonly version: string;
  readonly official_url: string;
  readonly license: string | null;
  readonly verified_by: readonly string[];
  readonly recipe: string | null;
  readonly official_hash: string | null;
  readonly unpacked_hash: string | null;
  /** A dataset version that every user may stream. */
  readonly cached: { readonly id: string; readonly reference: string } | null;
}

export interface PublishedFile {
  readonly path: string;
  readonly sha256: string | null;
  readonly md5: string | null;
  readonly size: number | null;
  readonly url: string | null;
  readonly source: string;
  readonly unpacked: boolean;
}

export type PublicDatasetWithFiles = PublicDataset & { readonly files: readonly PublishedFile[] };

/** What an administrator gives: published files with their SHA-256, or the hash of their manifest. */
export interface NewPublicDataset {
  readonly name: string;
  readonly version: string;
  readonly official_url: string;
  readonly verified_by: readonly string[];
  readonly license?: string;
  readonly recipe?: string;
  readonly official_hash?: string;
  readonly files?: readonly {
    readonly path: string;
    readonly sha256: string;
    readonly size?: number;
    readonly md5?: string;
    readonly url?: string;
  }[];
}

/** The public registry. `reference`: id, `NAME` or `NAME@VERSION`. */
export class PublicRegistry {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  list({ search }: { search?: string } = {}): AsyncGenerator<PublicDataset> {
    return pages(this.#gateway, "/api/public-datasets", "public_datasets", { search });
  }

  get(reference: string): Promise<PublicDatasetWithFiles> {
    return this.#gateway.json("GET", path("api", "public-datasets", reference));
  }

  add(entry: NewPublicDataset): Promise<PublicDatasetWithFiles> {
    return this.#gateway.json("POST", "/api/public-datasets", { json: entry });
  }

  async remove(reference: string): Promise<void> {
    await this.#gateway.call("DELETE", path("api", "public-datasets", reference));
  }

  /** Opens a dataset version that was verified against the entry to every user; null closes it. */
  setCachedCopy(reference: string, dataset: string | null): Promise<PublicDataset> {
    return this.#gateway.json("PUT", path("api", "public-datasets", reference, "cached-copy"), {
      json: { dataset },
    });
  }

  /**
   * Makes a dataset of stored objects that equal the entry, and opens it to every user.
   * @returns the id of the new version.
   */
  async import(reference: string, request: CreateDataset, options: JobOptions = {}): Promise<string> {
    const { job_id } = await this.#gateway.json<{ job_id: string }>(
      "POST",
      path("api", "public-datasets", reference, "import"),
      { json: request },
    );
    return (await waitForJob<{ dataset_id: string }>(this.#gateway, job_id, options)).dataset_id;
  }
}

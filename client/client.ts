import { DataStreamError, invalidArgument } from "../core/errors.ts";
import type { KnownKey } from "../core/trust/known-keys.ts";
import { loadKernels, type Kernels } from "../kernels/index.ts";
import { Datasets } from "./datasets.ts";
import { Gateway, type GatewayOptions, path } from "./http.ts";
import { Keys } from "./keys.ts";
import { Nodes } from "./nodes.ts";
import { Objects } from "./objects.ts";
import { Receipts } from "./receipts.ts";
import { Attestors } from "./attestors.ts";
import { PublicRegistry } from "./registry.ts";
import { MemoryPinStore, type PinStore } from "./pins.ts";
import { Shares } from "./shares.ts";
import type { Batch } from "./stream/batch.ts";
import { openDataset, type VerifiedDataset } from "./stream/dataset.ts";
import type { StreamOptions } from "./stream/options.ts";
import type { StreamContext } from "./stream/run.ts";
import { streamBatches } from "./stream/stream.ts";
import { Users } from "./users.ts";
import { uploadFolder } from "./folder-upload.ts";
import { uploadObject, type UploadFile, type UploadOptions, type UploadResult } from "./uploads.ts";

export interface DataStreamClientOptions extends GatewayOptions {
  /** Remembers dataset versions between runs; by default for this client's lifetime alone. */
  readonly pins?: PinStore;
  /** Keys known from outside the gateway: a version that one of them signed counts as pinned. */
  readonly knownKeys?: readonly KnownKey[];
}

/** A stream that can begin. */
export interface OpenedStream extends StreamContext {
  /** Ends the access token that was created for this stream alone, if one was. Never fails. */
  close(): Promise<void>;
}

/** Heap for hashing in the client: a staging area, since item bytes stay in ordinary memory. */
const CLIENT_HEAP_BYTES: number = 1024 * 1024;

/**
 * Everything a program does with a gateway: upload, manage, stream. Runs in Node, browsers and
 * Workers. One instance may run any number of streams at once.
 */
export class DataStreamClient {
  readonly gateway: Gateway;
  readonly objects: Objects;
  readonly datasets: Datasets;
  readonly receipts: Receipts;
  readonly keys: Keys;
  readonly registry: PublicRegistry;
  readonly attestors: Attestors;
  readonly shares: Shares;
  readonly nodes: Nodes;
  readonly users: Users;
  readonly #options: DataStreamClientOptions;
  readonly #pins: PinStore;
  #kernels: Promise<Kernels> | undefined;

  constructor(options: DataStreamClientOptions) {
    this.#options = options;
    this.gateway = new Gateway(options);
    this.objects = new Objects(this.gateway);
    this.datasets = new Datasets(this.gateway);
    this.receipts = new Receipts(this.gateway);
    this.keys = new Keys(this.gateway);
    this.registry = new PublicRegistry(this.gateway);
    this.attestors = new Attestors(this.gateway);
    this.shares = new Shares(this.gateway);
    this.nodes = new Nodes(this.gateway);
    this.users = new Users(this.gateway);
    this.#pins = options.pins ?? new MemoryPinStore();
  }

  async uploadObject(
    target: { bucket: string; key: string; sha256?: string },
    blob: Blob,
    options?: UploadOptions,
  ): Promise<UploadResult> {
    const { blake3 } = await this.#loaded();
    return uploadObject({ gateway: this.gateway, blake3 }, target, blob, options);
  }

  /** `files` in path-byte order; see `uploadFolder`. */
  async uploadFolder(
    target: { bucket: string; prefix: string },
    files: AsyncIterable<UploadFile>,
    options?: UploadOptions,
  ): Promise<UploadResult> {
    const { blake3 } = await this.#loaded();
    return uploadFolder({ gateway: this.gateway, blake3 }, target, files, options);
  }

  /** Fetches and verifies description, schema and manifest of a dataset version. */
  async openDataset(reference: string, accessToken?: string): Promise<VerifiedDataset> {
    const { blake3 } = await this.#loaded();
    return openDataset(this.#gatewayFor(accessToken), reference, this.#pins, blake3, this.#knownKeys);
  }

  /**
   * Verified batches in the order that the options fix. Breaking out of the loop cancels the request.
   * Without an access token one is made for this stream alone, and ends with it.
   * Item bytes are checked against the manifest that this client verified itself; see `VerifiedDataset.pinned`
   * for whether the manifest's hash came from outside the gateway.
   */
  async *streamBatches(options: StreamOptions): AsyncGenerator<Batch, void, undefined> {
    const stream = await this.openStream(options);
    try {
      yield* streamBatches(stream, options);
    } finally {
      await stream.close();
    }
  }

  /**
   * Opens and verifies the dataset of a stream, with what the stream needs beside it: for programs that deliver batches
   * in their own way. They close it when they are done.
   */
  async openStream({
    dataset: reference,
    schemaHash,
    accessToken: given,
  }: Pick<StreamOptions, "dataset" | "schemaHash" | "accessToken">): Promise<OpenedStream> {
    const { blake3 } = await this.#loaded();
    const known = given ?? this.#options.accessToken;
    const gateway = this.#gatewayFor(known);
    const dataset = await openDataset(gateway, reference, this.#pins, blake3, this.#knownKeys, schemaHash);
    const context = { gateway: this.gateway, dataset, blake3 };
    if (known !== undefined) return { ...context, accessToken: known, close: () => Promise.resolve() };
    if (this.#options.apiKey === undefined) {
      throw invalidArgument(
        "accessToken",
        "a stream needs an access token, or a client with an API key to create one.",
      );
    }
    const own = await this.datasets.createToken(dataset.info.id);
    // Nobody else has it. One try is enough: it expires in any case.
    const close = async (): Promise<void> => {
      await this.gateway.send("DELETE", path("api", "tokens", own.id)).catch(() => undefined);
    };
    return { ...context, accessToken: own.token, close };
  }

  get #knownKeys(): readonly KnownKey[] {
    return this.#options.knownKeys ?? [];
  }

  #gatewayFor(accessToken: string | undefined): Gateway {
    if (accessToken === undefined || this.#options.apiKey !== undefined) return this.gateway;
    return new Gateway({ ...this.#options, accessToken });
  }

  #loaded(): Promise<Kernels> {
    this.#kernels ??= loadKernels({ heapBytes: CLIENT_HEAP_BYTES }).catch((cause: unknown) => {
      this.#kernels = undefined;
      throw new DataStreamError("internal", "The WebAssembly kernels cannot be loaded.", { cause });
    });
    return this.#kernels;
  }
}

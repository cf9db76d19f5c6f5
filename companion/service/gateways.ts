/** How the companion reaches gateways: with which key, certificate, pins and patience. */
import { readFileSync } from "node:fs";
import { createConnectTransport } from "@connectrpc/connect-node";
import type { Transport } from "@connectrpc/connect";
import type { RetryPolicy } from "../../client/backoff.ts";
import { DataStreamClient } from "../../client/client.ts";
import type { BatchSource } from "../../client/stream/source.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import type { KeyPair } from "../../core/trust/ed25519.ts";
import { readKnownKeys } from "../known-keys-file.ts";
import { openNodeKey } from "../key-file.ts";
import { FilePinStore } from "../pin-file.ts";
import type { MessagePool } from "../receive/message-pool.ts";
import { socketSource } from "../receive/socket-source.ts";
import { certifiedFetch, type GatewayTls } from "./certified-fetch.ts";
import type { Configuration } from "./settings.ts";

/** Somebody waits for a stream that opens: a gateway that is not there is told within seconds. */
const OPEN_RETRY: RetryPolicy = { attempts: 5, firstDelayMs: 200, maxDelayMs: 2_000 };
/** A gateway that comes back is found within so long. */
const STREAM_RETRY = { attempts: 10, firstDelayMs: 200, maxDelayMs: 5_000 } as const;

export class Gateways {
  readonly #configuration: Configuration;
  readonly #nodeKey: KeyPair | undefined;
  readonly #tls: GatewayTls | undefined;
  readonly #fetch: typeof fetch | undefined;
  readonly #pins: FilePinStore;

  /** @throws DataStreamError naming the setting whose file cannot be read. */
  constructor(configuration: Configuration) {
    this.#configuration = configuration;
    const { node_key, client_certificate, client_key, gateway_ca, pins } = configuration;
    this.#nodeKey = node_key === undefined ? undefined : openNodeKey(node_key);
    const tls: GatewayTls = {
      ...(gateway_ca !== undefined && { ca: readPem("gateway_ca", gateway_ca) }),
      ...(client_certificate !== undefined && { cert: readPem("client_certificate", client_certificate) }),
      ...(client_key !== undefined && { key: readPem("client_key", client_key) }),
    };
    this.#tls = Object.keys(tls).length === 0 ? undefined : tls;
    this.#fetch = this.#tls && certifiedFetch(this.#tls);
    this.#pins = new FilePinStore(pins);
  }

  /** How long a running stream waits for a gateway that is gone. */
  get streamRetry(): RetryPolicy {
    return { ...STREAM_RETRY, patienceMs: this.#configuration.gateway_patience * 1000 };
  }

  /**
   * @param gateway of the caller's choice; default the configured one.
   * @throws DataStreamError `failed_precondition` where there is neither.
   */
  address(gateway?: string): string {
    const address = gateway?.replace(/\/+$/, "") ?? this.#configuration.gateway;
    if (address !== undefined) return address;
    throw new DataStreamError(
      "failed_precondition",
      "gateway: this companion was started without one, so name it in the request, or start the companion with --gateway URL.",
      { details: { field: "gateway" } },
    );
  }

  /** A client that acts with one access token. @param knownKeys file of the caller's choice. */
  client(
    address: string,
    accessToken: string,
    knownKeys: string = this.#configuration.known_keys,
  ): DataStreamClient {
    return new DataStreamClient({
      gateway: address,
      accessToken,
      pins: this.#pins,
      knownKeys: readKnownKeys(knownKeys),
      retry: OPEN_RETRY,
      ...(this.#nodeKey !== undefined && { nodeKey: this.#nodeKey }),
      ...(this.#fetch !== undefined && this.#isConfigured(address) && { fetch: this.#fetch }),
    });
  }

  /** Batches over a socket, into memory of the pool. */
  source(address: string, pool: MessagePool): BatchSource {
    return socketSource({
      pool,
      ...(this.#tls !== undefined && this.#isConfigured(address) && { tls: this.#tls }),
    });
  }

  /** For calls that go to the gateway as they come. */
  transport(address: string): Transport {
    return createConnectTransport({
      baseUrl: address,
      httpVersion: "1.1",
      acceptCompression: [],
      ...(this.#tls !== undefined && this.#isConfigured(address) && { nodeOptions: { ...this.#tls } }),
    });
  }

  /** The node's certificate is shown to nobody else. */
  #isConfigured(address: string): boolean {
    return address === this.#configuration.gateway;
  }
}

/** @throws DataStreamError `invalid_argument` naming the setting. */
export function readPem(key: string, file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw invalidArgument(key, `${file} cannot be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}

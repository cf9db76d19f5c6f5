import { fromBase64 } from "../core/base64.ts";
import { RECEIPT_MAX_CHARS } from "../core/limits.ts";
import { parseReceipt } from "../core/stream/receipt-format.ts";
import type { Receipt } from "../core/stream/receipt.ts";
import {
  verifyReceipt as verifyEvidence,
  type ReceiptEvidence,
  type VerifiedReceipt,
} from "../core/stream/receipt-verify.ts";
import { parseEnvelope, type Envelope } from "../core/trust/dsse.ts";
import { loadKernels } from "../kernels/index.ts";
import { path, query, type Gateway } from "./http.ts";

const HEAP_BYTES: number = 1024 * 1024;

/** Signed receipts of streams: docs/formats/receipt-v1.md. */
export class Receipts {
  readonly #gateway: Gateway;

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /**
   * The receipt of a stream as of now. NOT checked here: see `verifyReceipt`.
   * @param dataset the version that was streamed; its id works also after the version is gone.
   */
  async get(dataset: string, streamId: string): Promise<Envelope> {
    const route = `${path("api", "streams", streamId, "receipt")}${query({ dataset })}`;
    return parseEnvelope(await this.#gateway.json<unknown>("GET", route), "receipt", RECEIPT_MAX_CHARS);
  }

  /**
   * The receipt together with what verifies it. Keys that come from the same gateway prove only that it is at one with
   * itself: compare them with what you know of it from elsewhere.
   */
  async evidence(
    dataset: string,
    streamId: string,
  ): Promise<ReceiptEvidence & { readonly envelope: Envelope }> {
    const envelope = await this.get(dataset, streamId);
    const version = String(readReceipt(envelope).parameters["dataset_id"]);
    const jwks = await this.#gateway.json<unknown>("GET", "/.well-known/jwks.json");
    const response = await this.#gateway.call("GET", path("api", "datasets", version, "manifest"));
    return { envelope, jwks, manifest: new Uint8Array(await response.arrayBuffer()) };
  }
}

/** What a receipt says, unverified. @throws `invalid_argument` for a payload that is no receipt. */
export function readReceipt(envelope: Envelope): Receipt {
  return parseReceipt(fromBase64(envelope.payload) ?? new Uint8Array());
}

/**
 * Verifies a receipt offline: who signed it, and every transcript head in it.
 * @throws as core/stream/receipt-verify.ts says.
 */
export async function verifyReceipt(evidence: ReceiptEvidence): Promise<VerifiedReceipt> {
  const { blake3 } = await loadKernels({ heapBytes: HEAP_BYTES });
  return verifyEvidence(evidence, blake3);
}

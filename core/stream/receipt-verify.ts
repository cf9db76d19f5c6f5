/**
 * Verifying a receipt offline: with the gateway's public keys and the manifest, without any data. Every transcript head
 * is computed again, and every acknowledgement that is said to stand or not to stand is checked against the others.
 */
import { fromBase64 } from "../base64.ts";
import { equalBytes, fromHex, toHex } from "../bytes.ts";
import { canonicalJson } from "../canonical-json.ts";
import { filterPredicate, viewHash, type DatasetFilter } from "../dataset/filter.ts";
import { Manifest } from "../dataset/manifest.ts";
import { DataStreamError } from "../errors.ts";
import { RECEIPT_MAX_CHARS } from "../limits.ts";
import type { Blake3 } from "../ports.ts";
import { openEnvelope, parseEnvelope } from "../trust/dsse.ts";
import { batchPositions, checkBatchPlan, totalBatches, type BatchPlan } from "./batches.ts";
import { verifyConsumerStatement } from "./consumer-statement.ts";
import { createOrder, type Order } from "./order.ts";
import { parametersJson, parseParameters, type StreamParameters } from "./parameters.ts";
import { parseReceipt } from "./receipt-format.ts";
import { RECEIPT_TYPE, type LeaseReceipt, type Receipt, type SegmentReceipt } from "./receipt.ts";
import { voidedAcknowledgements } from "./receipt-voids.ts";
import { Transcript } from "./transcript.ts";

export interface ReceiptEvidence {
  /** JSON value of the receipt file. */
  readonly envelope: unknown;
  /** JSON value of the gateway's `/.well-known/jwks.json`, from where the verifier trusts it. */
  readonly jwks: unknown;
  readonly manifest: Uint8Array;
}

export interface VerifiedReceipt {
  readonly receipt: Receipt;
  /** `kid` of the key that signed it. */
  readonly keyId: string;
  /** Transcript heads that were computed again and are equal. */
  readonly headsChecked: number;
  readonly consumerSignatures: number;
}

/**
 * @throws `invalid_argument` for a file that is no receipt, `unauthenticated` for one that none of the keys signed,
 *   `data_loss` naming what the manifest or the receipt itself contradicts.
 */
export function verifyReceipt(evidence: ReceiptEvidence, blake3: Blake3): VerifiedReceipt {
  const envelope = parseEnvelope(evidence.envelope, "receipt", RECEIPT_MAX_CHARS);
  const keyId = envelope.signatures[0].keyid;
  const key = publicKeyOf(evidence.jwks, keyId);
  const payload = key && openEnvelope(envelope, RECEIPT_TYPE, key);
  if (payload === undefined)
    throw new DataStreamError(
      "unauthenticated",
      "receipt: no key of the given key set signed this receipt.",
      { details: { field: "signature" } },
    );
  const receipt = parseReceipt(payload);
  const parameters = parametersOf(receipt);
  const manifest = manifestOf(parameters, evidence.manifest, blake3);
  const stream = new ReceiptStream(receipt, parameters, manifest, blake3);
  checkLeases(receipt, parameters.batchSize);
  let headsChecked = 0;
  for (const segment of receipt.segments) headsChecked += stream.checkSegment(segment);
  const consumerSignatures = checkConsumers(receipt, parameters);
  return { receipt, keyId, headsChecked, consumerSignatures };
}

/** The Ed25519 key of this id in a JSON Web Key Set (RFC 7517, RFC 8037). */
function publicKeyOf(jwks: unknown, keyId: string): Uint8Array | undefined {
  const keys = (jwks as { keys?: unknown } | null | undefined)?.keys;
  if (!Array.isArray(keys)) return undefined;
  const found = keys.filter(
    (key: { kid?: unknown; kty?: unknown; crv?: unknown; x?: unknown } | null) =>
      key?.kid === keyId && key.kty === "OKP" && key.crv === "Ed25519" && typeof key.x === "string",
  ) as { x: string }[];
  const x = found.length === 1 ? found[0]?.x : undefined;
  return x === undefined ? undefined : fromBase64(`${x.replaceAll("-", "+").replaceAll("_", "/")}=`);
}

function parametersOf(receipt: Receipt): StreamParameters {
  const parameters = parseParameters(receipt.parameters);
  if (
    parameters === undefined ||
    canonicalJson(parametersJson(parameters)) !== canonicalJson(receipt.parameters)
  )
    throw contradiction("parameters", "are not those of a stream.");
  return parameters;
}

function manifestOf(parameters: StreamParameters, bytes: Uint8Array, blake3: Blake3): Manifest {
  const actual = blake3.hash(bytes);
  if (!equalBytes(actual, parameters.contentHash))
    throw contradiction(
      "manifest",
      `its hash is ${toHex(actual)}, but the receipt is for ${toHex(parameters.contentHash)}.`,
    );
  return Manifest.parse(bytes);
}

/** Everything that follows from parameters and manifest. */
class ReceiptStream {
  readonly #receipt: Receipt;
  readonly #parameters: StreamParameters;
  readonly #manifest: Manifest;
  readonly #blake3: Blake3;
  readonly #view: Uint32Array | undefined;
  #order: { readonly epoch: number; readonly order: Order } | undefined;

  constructor(receipt: Receipt, parameters: StreamParameters, manifest: Manifest, blake3: Blake3) {
    this.#receipt = receipt;
    this.#parameters = parameters;
    this.#manifest = manifest;
    this.#blake3 = blake3;
    const { filter } = parameters;
    this.#view = filter && viewOf(filter, manifest);
    const hash = this.#view && viewHash(this.#view, blake3);
    if ((hash && toHex(hash)) !== (parameters.viewHash && toHex(parameters.viewHash)))
      throw contradiction("view_hash", "the filter selects other files of the manifest.");
    if (receipt.item_count !== (this.#view?.length ?? manifest.count))
      throw contradiction("item_count", "is not what the manifest holds.");
  }

  /** @returns how many heads were computed again and compared. */
  checkSegment(segment: SegmentReceipt): number {
    const { epoch, rank, world_size, start_index, prepared_batches } = segment;
    const plan: BatchPlan = {
      count: this.#receipt.item_count,
      batchSize: this.#parameters.batchSize,
      worldSize: world_size,
      rank,
      start: start_index,
      tail: this.#parameters.tail,
    };
    checkBatchPlan(plan);
    const named = new Map<number, Set<string | null>>();
    const name = (batches: number, head: string | null): void => {
      named.set(batches, (named.get(batches) ?? new Set()).add(head));
    };
    name(prepared_batches, segment.prepared_head);
    name(segment.acknowledged_batches, segment.acknowledged_head);
    for (const { acknowledgement } of segment.leases)
      if (acknowledgement !== null) name(acknowledgement.batches, acknowledgement.head);
    if (Math.max(...named.keys()) > prepared_batches || prepared_batches > totalBatches(plan))
      throw contradiction(where(segment), "names batches that were never prepared.");

    const order = this.#orderOf(epoch);
    const transcript = Transcript.start(
      { parameters: this.#parameters, epoch, rank, worldSize: world_size, startIndex: start_index },
      this.#blake3,
    );
    for (let batches = 0; ; batches++) {
      const own = batches === 0 ? null : toHex(transcript.head);
      for (const head of named.get(batches) ?? [])
        if (head !== own)
          throw contradiction(
            where(segment),
            `the head after ${batches} batches is ${own ?? "none"}, not ${head ?? "none"}.`,
          );
      if (batches === prepared_batches) return named.size;
      const indices = batchPositions(plan, batches).positions.map((position) => order.itemAt(position));
      transcript.advance(
        batches,
        indices,
        indices.map((index) => this.#manifest.itemHash(index)),
      );
    }
  }

  #orderOf(epoch: number): Order {
    if (this.#order?.epoch === epoch) return this.#order.order;
    const { mode, contentHash, seed, block } = this.#parameters;
    const order = createOrder({
      mode,
      count: this.#receipt.item_count,
      contentHash,
      seed,
      epoch,
      ...(block && { block }),
      ...(this.#view && { view: this.#view }),
    });
    this.#order = { epoch, order };
    return order;
  }
}

function viewOf(filter: DatasetFilter, manifest: Manifest): Uint32Array {
  const passes = filterPredicate(filter);
  const indices: number[] = [];
  for (let i = 0; i < manifest.count; i++) if (passes(manifest.itemPath(i))) indices.push(i);
  return Uint32Array.from(indices);
}

/** Leases are unique, each generation is one world with one start an epoch, and what stands follows from them. */
function checkLeases(receipt: Receipt, batchSize: number): void {
  const places = new Set<string>();
  const worlds = new Map<number, number>();
  const starts = new Map<string, number>();
  for (const segment of receipt.segments) {
    const { generation, epoch, rank, world_size, start_index } = segment;
    const place = [generation, epoch, rank].join();
    const start = [generation, epoch].join();
    if (
      segment.leases.length === 0 ||
      places.has(place) ||
      (worlds.get(generation) ?? world_size) !== world_size ||
      (starts.get(start) ?? start_index) !== start_index
    )
      throw contradiction(where(segment), "is listed twice, or contradicts another segment.");
    places.add(place);
    worlds.set(generation, world_size);
    starts.set(start, start_index);
  }
  const all = receipt.segments
    .flatMap((segment) => segment.leases.map((each) => ({ ...each, segment })))
    .toSorted((a, b) => a.lease - b.lease);
  const latest = new Map<number, number>();
  all.forEach(({ lease, segment }, i) => {
    const { epoch, generation } = segment;
    if (all[i - 1]?.lease === lease || (latest.get(epoch) ?? 0) > generation)
      throw contradiction(where(segment), `lease ${lease} is out of turn.`);
    latest.set(epoch, generation);
  });
  const voids = voidedAcknowledgements(
    all.map((each) => ({
      lease: each.lease,
      generation: each.segment.generation,
      epoch: each.segment.epoch,
      rank: each.segment.rank,
      worldSize: each.segment.world_size,
      startIndex: each.segment.start_index,
      firstBatch: each.first_batch,
      acknowledged: each.acknowledgement?.batches ?? 0,
    })),
    { count: receipt.item_count, batchSize },
  );
  for (const segment of receipt.segments) {
    for (const { lease, acknowledgement } of segment.leases)
      if (canonicalJson(acknowledgement?.void ?? null) !== canonicalJson(voids.get(lease) ?? null))
        throw contradiction(
          where(segment),
          `lease ${lease} does not say rightly which acknowledgements are void.`,
        );
    if (segment.acknowledged_batches !== Math.max(...segment.leases.map(standingBatches)))
      throw contradiction(where(segment), "acknowledged_batches does not follow from the leases.");
  }
}

/** The acknowledged prefix of a lease that stands. */
function standingBatches({ acknowledgement }: LeaseReceipt): number {
  if (acknowledgement === null) return 0;
  return Math.min(acknowledgement.batches, acknowledgement.void?.from_batch ?? acknowledgement.batches);
}

function checkConsumers({ stream_id, segments }: Receipt, { datasetId }: StreamParameters): number {
  let checked = 0;
  for (const segment of segments)
    for (const { lease, acknowledgement } of segment.leases) {
      if (acknowledgement === null || acknowledgement.consumer === null) continue;
      const { batches, head, consumer } = acknowledgement;
      const statement = {
        datasetId,
        streamId: stream_id,
        epoch: segment.epoch,
        rank: segment.rank,
        lease,
        batches,
        head: fromHex(head) as Uint8Array,
      };
      const signature = {
        publicKey: fromBase64(consumer.public_key) ?? new Uint8Array(),
        signature: fromBase64(consumer.signature) ?? new Uint8Array(),
      };
      if (!verifyConsumerStatement(statement, signature))
        throw contradiction(where(segment), `the consumer's signature under lease ${lease} does not verify.`);
      checked++;
    }
  return checked;
}

function where({ generation, epoch, rank }: SegmentReceipt): string {
  return `generation ${generation}, epoch ${epoch}, rank ${rank}`;
}

function contradiction(field: string, message: string): DataStreamError {
  return new DataStreamError("data_loss", `receipt: ${field}: ${message}`, { details: { field } });
}

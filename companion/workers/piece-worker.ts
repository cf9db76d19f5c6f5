import { DECODE_HEAP_BYTES } from "../../core/limits.ts";
import { DataStreamError } from "../../core/errors.ts";
import { type Kernels, loadKernels, type Region } from "../../kernels/index.ts";
import { allocate } from "../decode/pixel-writer.ts";
import { type ItemDecoder, itemDecoder } from "../decode/item-decoder.ts";
import { subView } from "../memory/reference.ts";
import type { ItemResult } from "./job.ts";
import { ITEM_FIELDS, type Piece, type PieceFailures, type Plan } from "./messages.ts";

/** Small items are copied here and hashed in one call, which shares the lanes of the kernel among them. */
const HASH_AREA_BYTES = 1024 * 1024;
const HASH_AREA_ALIGNMENT = 64;
const DIGEST_BYTES = 32;
/** Streams whose decoders a thread keeps ready. */
const DECODERS_KEPT = 8;

type Failure = ItemResult & { ok: false };
const WRONG_HASH: Failure = {
  ok: false,
  reason: "hash",
  message: "has other bytes than the dataset's manifest says.",
};

/**
 * What a thread does: hashes the items of a piece, then decodes the good ones into the slot. Encoded bytes are copied
 * once, into kernel memory to be hashed; decoders read them where they were received.
 */
export class PieceWorker {
  readonly #kernels: Kernels;
  readonly #area: Region;
  readonly #decoders = new Map<string, ItemDecoder>();

  private constructor(kernels: Kernels) {
    this.#kernels = kernels;
    this.#area = allocate(kernels, HASH_AREA_BYTES);
  }

  static async create(): Promise<PieceWorker> {
    return new PieceWorker(await loadKernels({ heapBytes: DECODE_HEAP_BYTES + HASH_AREA_BYTES }));
  }

  /**
   * Failures in the order of the items. Throws only when a decoder cannot be made at all.
   * @param begins is told which item is decoded next.
   */
  run(piece: Piece, begins: (item: number) => void = () => undefined): PieceFailures {
    const { items, paths, seed, epoch } = piece;
    const wrong = this.#wrongHashes(piece);
    const decoder = this.#decoder(piece.plan);
    const output = subView(piece.ring, piece.output);
    const failures: [number, Failure][] = [];
    for (const [i, path] of paths.entries()) {
      const [offset, length, itemIndex, place, size] = items.subarray(i * ITEM_FIELDS) as unknown as Field;
      let failure = wrong.has(i) ? WRONG_HASH : undefined;
      if (failure === undefined) {
        begins(i);
        const item = { path, bytes: new Uint8Array(piece.input, offset, length) };
        try {
          decoder.decode(item, { seed, epoch, itemIndex }, output.subarray(place, place + size));
        } catch (error) {
          failure = { ok: false, reason: "decode", message: messageOf(error, path) };
        }
      }
      if (failure !== undefined) failures.push([i, failure]);
    }
    return failures;
  }

  #wrongHashes({ input, items, hashes, hashed }: Piece): ReadonlySet<number> {
    const { bytes, blake3 } = this.#kernels;
    const wrong = new Set<number>();
    const compare = (i: number, digest: Uint8Array): void => {
      for (let byte = 0; byte < DIGEST_BYTES; byte++)
        if (digest[byte] !== hashes[i * DIGEST_BYTES + byte]) wrong.add(i);
    };
    let together: number[] = [];
    let pointers: number[] = [];
    let lengths: number[] = [];
    let used = 0;
    const flush = (): void => {
      const digests = this.#kernels.hashMany(pointers, lengths);
      for (const [n, i] of together.entries()) compare(i, digests.subarray(n * DIGEST_BYTES));
      [together, pointers, lengths, used] = [[], [], [], 0];
    };
    for (let i = 0; i < hashed.length; i++) {
      if (hashed[i] === 0) continue;
      const [offset, length] = items.subarray(i * ITEM_FIELDS) as unknown as Field;
      const item = new Uint8Array(input, offset, length);
      if (length > HASH_AREA_BYTES) {
        compare(i, blake3.hash(item));
        continue;
      }
      if (used + length > HASH_AREA_BYTES) flush();
      const pointer = this.#area.pointer + used;
      bytes.set(item, pointer);
      together.push(i);
      pointers.push(pointer);
      lengths.push(length);
      used += Math.ceil(length / HASH_AREA_ALIGNMENT) * HASH_AREA_ALIGNMENT;
    }
    flush();
    return wrong;
  }

  #decoder(plan: string): ItemDecoder {
    const known = this.#decoders.get(plan);
    if (known !== undefined) return known;
    const oldest = [...this.#decoders.keys()][0];
    if (oldest !== undefined && this.#decoders.size >= DECODERS_KEPT) {
      this.#decoders.get(oldest)?.dispose();
      this.#decoders.delete(oldest);
    }
    const { format, processing } = JSON.parse(plan) as Plan;
    const made = itemDecoder(format, processing, this.#kernels);
    this.#decoders.set(plan, made);
    return made;
  }
}

type Field = readonly [offset: number, length: number, itemIndex: number, place: number, size: number];

/** What decoders throw begins with the path, which results have beside the message. */
function messageOf(error: unknown, path: string): string {
  if (!(error instanceof DataStreamError)) return `cannot be decoded (${String(error)}).`;
  const { message } = error;
  return message.startsWith(`${path}: `) ? message.slice(path.length + 2) : message;
}

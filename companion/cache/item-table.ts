import { viewOf } from "../../core/bytes.ts";
import { isAbout, type Segment } from "./segment.ts";

const EMPTY = 0;
const REMOVED = 0xffff_ffff;
const SMALLEST_SLOTS = 1_024;

export interface ItemRecord {
  readonly segment: Segment;
  readonly index: number;
}

/**
 * Where each item's record is: a hash table of 8 bytes a slot with linear probing, at most half full, so that a million
 * items are 16 MB here and 48 MB in their records, and nothing for the garbage collector to walk. Content hashes are
 * evenly spread, so their first bytes choose the slot. An item that two processes stored may be in it twice.
 */
export class ItemTable {
  /** Two words a slot: number of the segment, or EMPTY or REMOVED; index of the record. */
  #slots: Uint32Array = new Uint32Array(2 * SMALLEST_SLOTS);
  /** Slots that are not EMPTY. */
  #taken = 0;
  #size = 0;
  readonly #segments = new Map<number, Segment>();
  readonly #numbers = new Map<Segment, number>();
  #lastNumber = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds the records of a segment from an index on. */
  add(segment: Segment, from: number): void {
    const number = this.#numberOf(segment);
    for (let index = from; index < segment.count; index++) {
      if (segment.placeAt(index) === undefined) continue;
      if (2 * (this.#taken + 1) > this.#slots.length / 2) this.#rebuild();
      this.#insert(number, index, segment.hashAt(index));
    }
  }

  find(hash: Uint8Array): ItemRecord | undefined {
    const slot = this.#slotOf(hash, (segment, index) => isAbout(segment, index, hash));
    if (slot === undefined) return undefined;
    const segment = this.#segments.get(this.#slots[slot] as number) as Segment;
    return { segment, index: this.#slots[slot + 1] as number };
  }

  remove({ segment, index }: ItemRecord): void {
    const slot = this.#slotOf(segment.hashAt(index), (other, at) => other === segment && at === index);
    if (slot === undefined) return;
    this.#slots[slot] = REMOVED;
    this.#size -= 1;
  }

  removeSegment(segment: Segment): void {
    const number = this.#numbers.get(segment);
    if (number === undefined) return;
    for (let index = 0; index < segment.count; index++) this.remove({ segment, index });
    this.#numbers.delete(segment);
    this.#segments.delete(number);
  }

  #numberOf(segment: Segment): number {
    const known = this.#numbers.get(segment);
    if (known !== undefined) return known;
    this.#lastNumber += 1;
    this.#numbers.set(segment, this.#lastNumber);
    this.#segments.set(this.#lastNumber, segment);
    return this.#lastNumber;
  }

  #slotOf(hash: Uint8Array, matches: (segment: Segment, index: number) => boolean): number | undefined {
    const slots = this.#slots;
    for (let slot = this.#firstSlot(hash); ; slot = (slot + 2) % slots.length) {
      const number = slots[slot] as number;
      if (number === EMPTY) return undefined;
      if (number === REMOVED) continue;
      if (matches(this.#segments.get(number) as Segment, slots[slot + 1] as number)) return slot;
    }
  }

  #insert(number: number, index: number, hash: Uint8Array): void {
    const slots = this.#slots;
    let slot = this.#firstSlot(hash);
    while (slots[slot] !== EMPTY) slot = (slot + 2) % slots.length;
    slots[slot] = number;
    slots[slot + 1] = index;
    this.#taken += 1;
    this.#size += 1;
  }

  /** Without what was removed, and twice as large where that is not enough. */
  #rebuild(): void {
    const old = this.#slots;
    const wanted = 4 * (this.#size + 1) > old.length / 2 ? 2 * old.length : old.length;
    this.#slots = new Uint32Array(wanted);
    this.#taken = 0;
    this.#size = 0;
    for (let slot = 0; slot < old.length; slot += 2) {
      const number = old[slot] as number;
      if (number === EMPTY || number === REMOVED) continue;
      const index = old[slot + 1] as number;
      this.#insert(number, index, (this.#segments.get(number) as Segment).hashAt(index));
    }
  }

  #firstSlot(hash: Uint8Array): number {
    return (viewOf(hash).getUint32(0, true) % (this.#slots.length / 2)) * 2;
  }
}

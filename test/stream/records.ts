/** Where the session tests keep a session's records: in plain objects, and in SQLite as the Durable Object does. */
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import type {
  Checkpoint,
  EpochStart,
  FixedStream,
  Generation,
  LeaseAcknowledgement,
  LeaseRecord,
  RankCursor,
  RankPlace,
  Segment,
  SessionRecords,
  StreamIdentity,
} from "../../core/stream/session-records.ts";
import { SqliteSessionRecords } from "../../durable-objects/session-storage.ts";

/** As simple as it can be: what the other one is compared with. */
export class MemoryRecords implements SessionRecords {
  #fixed: FixedStream | undefined;
  #identity: StreamIdentity | undefined;
  #lease = 0;
  readonly #leases: LeaseRecord[] = [];
  readonly #generations: Generation[] = [];
  readonly #starts: EpochStart[] = [];
  readonly #cursors = new Map<string, RankCursor>();
  readonly #checkpoints = new Map<string, Set<number>>();
  readonly #heads = new Map<string, Uint8Array>();

  identity(): StreamIdentity | undefined {
    return this.#identity;
  }
  identify(identity: StreamIdentity): void {
    this.#identity ??= identity;
  }
  addLease(lease: LeaseRecord): void {
    this.#leases.push(lease);
  }
  acknowledgeLease(lease: number, acknowledgement: LeaseAcknowledgement): void {
    const at = this.#leases.findIndex((each) => each.lease === lease);
    this.#leases[at] = { ...(this.#leases[at] as LeaseRecord), acknowledgement };
  }
  leaseCount(): number {
    return this.#leases.length;
  }
  firstAttachedAt(): number | undefined {
    return this.#leases[0]?.at;
  }
  leases(limit: number): readonly LeaseRecord[] {
    return this.#leases.slice(-limit);
  }
  fixed(): FixedStream | undefined {
    return this.#fixed;
  }
  fix(stream: FixedStream): void {
    this.#fixed = stream;
  }
  nextLease(): number {
    return ++this.#lease;
  }
  generation(): Generation | undefined {
    return this.#generations.at(-1);
  }
  addGeneration(generation: Generation): void {
    this.#generations.push(generation);
  }
  epochStart(generation: number, epoch: number): EpochStart | undefined {
    return this.#starts.find((start) => start.generation.number === generation && start.epoch === epoch);
  }
  latestEpochStart(epoch: number): EpochStart | undefined {
    return this.#starts
      .filter((start) => start.epoch === epoch)
      .toSorted((a, b) => a.generation.number - b.generation.number)
      .at(-1);
  }
  addEpochStart(start: EpochStart): void {
    this.#starts.push(start);
  }
  cursor(place: RankPlace): RankCursor | undefined {
    return this.#cursors.get(placeKey(place));
  }
  setCursor(place: RankPlace, cursor: RankCursor): void {
    this.#cursors.set(placeKey(place), cursor);
  }
  acknowledged(generation: number, epoch: number): ReadonlyMap<number, number> {
    const found = new Map<number, number>();
    for (const [key, { acknowledged }] of this.#cursors) {
      const [ofGeneration, ofEpoch, rank] = JSON.parse(key) as [number, number, number];
      if (ofGeneration === generation && ofEpoch === epoch) found.set(rank, acknowledged);
    }
    return found;
  }
  checkpoints(generation: number, epoch: number): readonly Checkpoint[] {
    return [...this.#checkpoints].flatMap(([key, set]) => {
      const [ofGeneration, ofEpoch, rank] = JSON.parse(key) as [number, number, number];
      if (ofGeneration !== generation || ofEpoch !== epoch) return [];
      return [...set].toSorted((a, b) => a - b).map((batches) => ({ rank, batches }));
    });
  }
  addCheckpoint(place: RankPlace, batches: number, keep: number): void {
    const all = [...(this.#checkpoints.get(placeKey(place)) ?? []), batches].toSorted((a, b) => a - b);
    this.#checkpoints.set(placeKey(place), new Set([...new Set(all)].slice(-keep)));
  }
  dropCheckpointsAfter(place: RankPlace, batches: number): void {
    const all = [...(this.#checkpoints.get(placeKey(place)) ?? [])];
    this.#checkpoints.set(placeKey(place), new Set(all.filter((each) => each <= batches)));
  }
  headCount(segment: Segment): number {
    return (this.#heads.get(segmentKey(segment))?.length ?? 0) / 32;
  }
  heads(segment: Segment, first: number, count: number): Uint8Array {
    const all = this.#heads.get(segmentKey(segment)) ?? new Uint8Array();
    return all.slice(32 * first, 32 * (first + count));
  }
  appendHeads(segment: Segment, heads: Uint8Array): void {
    const all = this.#heads.get(segmentKey(segment)) ?? new Uint8Array();
    this.#heads.set(segmentKey(segment), Uint8Array.from([...all, ...heads]));
  }
}

function placeKey({ generation, epoch, rank }: RankPlace): string {
  return JSON.stringify([generation, epoch, rank]);
}

function segmentKey({ epoch, rank, worldSize, startIndex }: Segment): string {
  return JSON.stringify([epoch, rank, worldSize, startIndex]);
}

/** The real records over Node's SQLite instead of the object's. `reopen` is what eviction does. */
export function sqliteRecords(): {
  records: SqliteSessionRecords;
  reopen: () => SqliteSessionRecords;
  close: () => void;
} {
  const database = new DatabaseSync(":memory:");
  const storage = {
    exec(query: string, ...values: unknown[]) {
      if (values.length === 0 && query.includes("CREATE TABLE")) {
        database.exec(query);
        return { toArray: () => [], [Symbol.iterator]: () => [][Symbol.iterator]() };
      }
      const inputs = values.map((value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : value));
      const rows = database
        .prepare(query)
        .all(...(inputs as SQLInputValue[]))
        .map((row) =>
          Object.fromEntries(
            Object.entries(row).map(([name, value]) => [
              name,
              value instanceof Uint8Array ? value.slice().buffer : value,
            ]),
          ),
        );
      return { toArray: () => rows, [Symbol.iterator]: () => rows[Symbol.iterator]() };
    },
  } as never;
  const records = new SqliteSessionRecords(storage);
  records.createTables();
  return {
    records,
    reopen: () => new SqliteSessionRecords(storage),
    close: () => database.close(),
  };
}

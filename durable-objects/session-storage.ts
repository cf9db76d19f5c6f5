/** `SessionRecords` in the SQLite database of a Durable Object. */
import type { TailPolicy } from "../core/stream/batches.ts";
import type { ParametersJson } from "../core/stream/parameters.ts";
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
} from "../core/stream/session-records.ts";

const HEAD_BYTES = 32;
/** A row holds at most 2 MB; half of that leaves room for its other columns. */
const HEADS_PER_ROW = 32_768;

const TABLES = `
  CREATE TABLE IF NOT EXISTS stream (
    id INTEGER PRIMARY KEY CHECK (id = 1), parameters TEXT NOT NULL,
    item_count INTEGER NOT NULL, batch_size INTEGER NOT NULL, tail TEXT NOT NULL
  );
  CREATE TABLE IF NOT EXISTS leases (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS identity (
    id INTEGER PRIMARY KEY CHECK (id = 1), user_id TEXT NOT NULL, stream_id TEXT NOT NULL
  );
  CREATE TABLE IF NOT EXISTS lease_records (
    lease INTEGER PRIMARY KEY, generation INTEGER NOT NULL, epoch INTEGER NOT NULL, rank INTEGER NOT NULL,
    first_batch INTEGER NOT NULL, token_id TEXT NOT NULL, node_id TEXT, attached_at INTEGER NOT NULL,
    acknowledged INTEGER, acknowledged_at INTEGER, consumer_key BLOB, consumer_signature BLOB,
    consumer_node TEXT
  );
  CREATE TABLE IF NOT EXISTS generations (number INTEGER PRIMARY KEY, world_size INTEGER NOT NULL);
  CREATE TABLE IF NOT EXISTS epoch_starts (
    epoch INTEGER NOT NULL, generation INTEGER NOT NULL REFERENCES generations,
    start_index INTEGER NOT NULL, requested_start INTEGER NOT NULL, PRIMARY KEY (epoch, generation)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS cursors (
    generation INTEGER NOT NULL, epoch INTEGER NOT NULL, rank INTEGER NOT NULL,
    lease INTEGER NOT NULL, acknowledged INTEGER NOT NULL, PRIMARY KEY (generation, epoch, rank)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS checkpoints (
    generation INTEGER NOT NULL, epoch INTEGER NOT NULL, rank INTEGER NOT NULL, batches INTEGER NOT NULL,
    PRIMARY KEY (generation, epoch, rank, batches)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS heads (
    epoch INTEGER NOT NULL, rank INTEGER NOT NULL, world_size INTEGER NOT NULL, start_index INTEGER NOT NULL,
    first_batch INTEGER NOT NULL, heads BLOB NOT NULL,
    PRIMARY KEY (epoch, rank, world_size, start_index, first_batch)
  ) WITHOUT ROWID;`;

const OF_SEGMENT = "epoch = ? AND rank = ? AND world_size = ? AND start_index = ?";
const SELECT_START =
  "SELECT g.number, g.world_size, s.epoch, s.start_index, s.requested_start FROM epoch_starts s JOIN generations g ON g.number = s.generation";

type Row = Record<string, SqlStorageValue>;

export class SqliteSessionRecords implements SessionRecords {
  readonly #sql: SqlStorage;

  /** Reads and writes nothing by itself: before anything else, `exist` or `createTables`. */
  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Whether there is anything to read. */
  exist(): boolean {
    return this.#first("SELECT 1 AS one FROM sqlite_master WHERE name = 'lease_records'") !== undefined;
  }

  /** Has no effect on those that exist. */
  createTables(): void {
    this.#sql.exec(TABLES);
  }

  identity(): StreamIdentity | undefined {
    const row = this.#first("SELECT user_id, stream_id FROM identity");
    return row && { userId: row.user_id as string, streamId: row.stream_id as string };
  }

  identify({ userId, streamId }: StreamIdentity): void {
    this.#sql.exec("INSERT OR IGNORE INTO identity VALUES (1, ?, ?)", userId, streamId);
  }

  fixed(): FixedStream | undefined {
    const row = this.#first("SELECT parameters, item_count, batch_size, tail FROM stream");
    return (
      row && {
        parameters: JSON.parse(row.parameters as string) as ParametersJson,
        shape: {
          count: row.item_count as number,
          batchSize: row.batch_size as number,
          tail: row.tail as TailPolicy,
        },
      }
    );
  }

  fix({ parameters, shape }: FixedStream): void {
    this.#sql.exec(
      "INSERT INTO stream VALUES (1, ?, ?, ?, ?)",
      JSON.stringify(parameters),
      shape.count,
      shape.batchSize,
      shape.tail,
    );
  }

  nextLease(): number {
    const row = this.#first(
      "INSERT INTO leases VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET last = last + 1 RETURNING last",
    );
    return row?.last as number;
  }

  addLease(record: LeaseRecord): void {
    this.#sql.exec(
      `INSERT INTO lease_records (lease, generation, epoch, rank, first_batch, token_id, node_id, attached_at)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      record.lease,
      record.generation,
      record.epoch,
      record.rank,
      record.firstBatch,
      record.tokenId,
      record.nodeId,
      record.at,
    );
  }

  acknowledgeLease(lease: number, { batches, at, consumer }: LeaseAcknowledgement): void {
    this.#sql.exec(
      `UPDATE lease_records SET acknowledged = ?, acknowledged_at = ?, consumer_key = ?, consumer_signature = ?,
        consumer_node = ? WHERE lease = ?`,
      batches,
      at,
      consumer === undefined ? null : consumer.publicKey.slice().buffer,
      consumer === undefined ? null : consumer.signature.slice().buffer,
      consumer === undefined ? null : consumer.nodeId,
      lease,
    );
  }

  leaseCount(): number {
    return (this.#first("SELECT count(*) AS leases FROM lease_records")?.leases ?? 0) as number;
  }

  firstAttachedAt(): number | undefined {
    return this.#first("SELECT attached_at FROM lease_records ORDER BY lease LIMIT 1")?.attached_at as
      | number
      | undefined;
  }

  /** When somebody attached or acknowledged last; milliseconds since 1970. */
  lastUsedAt(): number | undefined {
    const row = this.#first("SELECT max(coalesce(acknowledged_at, attached_at)) AS last FROM lease_records");
    return (row?.last ?? undefined) as number | undefined;
  }

  leases(limit: number): readonly LeaseRecord[] {
    const rows = this.#sql.exec("SELECT * FROM lease_records ORDER BY lease DESC LIMIT ?", limit);
    return rows.toArray().map(toLease).toReversed();
  }

  generation(): Generation | undefined {
    const row = this.#first("SELECT number, world_size FROM generations ORDER BY number DESC LIMIT 1");
    return row && { number: row.number as number, worldSize: row.world_size as number };
  }

  addGeneration({ number, worldSize }: Generation): void {
    this.#sql.exec("INSERT INTO generations VALUES (?, ?)", number, worldSize);
  }

  epochStart(generation: number, epoch: number): EpochStart | undefined {
    return toStart(this.#first(`${SELECT_START} WHERE s.epoch = ? AND s.generation = ?`, epoch, generation));
  }

  latestEpochStart(epoch: number): EpochStart | undefined {
    return toStart(
      this.#first(`${SELECT_START} WHERE s.epoch = ? ORDER BY s.generation DESC LIMIT 1`, epoch),
    );
  }

  addEpochStart({ epoch, generation, startIndex, requestedStart }: EpochStart): void {
    this.#sql.exec(
      "INSERT INTO epoch_starts (epoch, generation, start_index, requested_start) VALUES (?, ?, ?, ?)",
      epoch,
      generation.number,
      startIndex,
      requestedStart,
    );
  }

  cursor({ generation, epoch, rank }: RankPlace): RankCursor | undefined {
    const row = this.#first(
      "SELECT lease, acknowledged FROM cursors WHERE generation = ? AND epoch = ? AND rank = ?",
      generation,
      epoch,
      rank,
    );
    return row && { lease: row.lease as number, acknowledged: row.acknowledged as number };
  }

  setCursor({ generation, epoch, rank }: RankPlace, { lease, acknowledged }: RankCursor): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO cursors (generation, epoch, rank, lease, acknowledged) VALUES (?, ?, ?, ?, ?)",
      generation,
      epoch,
      rank,
      lease,
      acknowledged,
    );
  }

  acknowledged(generation: number, epoch: number): ReadonlyMap<number, number> {
    const rows = this.#sql.exec(
      "SELECT rank, acknowledged FROM cursors WHERE generation = ? AND epoch = ?",
      generation,
      epoch,
    );
    return new Map([...rows].map((row) => [row.rank as number, row.acknowledged as number]));
  }

  checkpoints(generation: number, epoch: number): readonly Checkpoint[] {
    const rows = this.#sql.exec(
      "SELECT rank, batches FROM checkpoints WHERE generation = ? AND epoch = ?",
      generation,
      epoch,
    );
    return [...rows].map((row) => ({ rank: row.rank as number, batches: row.batches as number }));
  }

  addCheckpoint({ generation, epoch, rank }: RankPlace, batches: number, keep: number): void {
    this.#sql.exec(
      "INSERT OR IGNORE INTO checkpoints (generation, epoch, rank, batches) VALUES (?, ?, ?, ?)",
      generation,
      epoch,
      rank,
      batches,
    );
    this.#sql.exec(
      `DELETE FROM checkpoints WHERE generation = ?1 AND epoch = ?2 AND rank = ?3 AND batches <=
        (SELECT batches FROM checkpoints WHERE generation = ?1 AND epoch = ?2 AND rank = ?3
         ORDER BY batches DESC LIMIT 1 OFFSET ?4)`,
      generation,
      epoch,
      rank,
      keep,
    );
  }

  dropCheckpointsAfter({ generation, epoch, rank }: RankPlace, batches: number): void {
    this.#sql.exec(
      "DELETE FROM checkpoints WHERE generation = ? AND epoch = ? AND rank = ? AND batches > ?",
      generation,
      epoch,
      rank,
      batches,
    );
  }

  headCount(segment: Segment): number {
    const row = this.#first(
      `SELECT first_batch, length(heads) AS bytes FROM heads WHERE ${OF_SEGMENT} ORDER BY first_batch DESC LIMIT 1`,
      ...keyOf(segment),
    );
    return row === undefined ? 0 : (row.first_batch as number) + (row.bytes as number) / HEAD_BYTES;
  }

  heads(segment: Segment, first: number, count: number): Uint8Array {
    const heads = new Uint8Array(count * HEAD_BYTES);
    // Rows are contiguous, so the one that holds `first` is the last that begins no later.
    const rows = this.#sql.exec(
      `SELECT first_batch, heads FROM heads WHERE ${OF_SEGMENT} AND first_batch < ? AND first_batch >=
        (SELECT max(first_batch) FROM heads WHERE ${OF_SEGMENT} AND first_batch <= ?) ORDER BY first_batch`,
      ...keyOf(segment),
      first + count,
      ...keyOf(segment),
      first,
    );
    for (const row of rows) {
      const stored = new Uint8Array(row.heads as ArrayBuffer);
      const offset = ((row.first_batch as number) - first) * HEAD_BYTES;
      const wanted = stored.subarray(Math.max(0, -offset), Math.max(0, heads.length - offset));
      heads.set(wanted, Math.max(0, offset));
    }
    return heads;
  }

  appendHeads(segment: Segment, heads: Uint8Array): void {
    let next = this.headCount(segment);
    for (let at = 0; at < heads.length; at += HEADS_PER_ROW * HEAD_BYTES) {
      const piece = heads.slice(at, at + HEADS_PER_ROW * HEAD_BYTES);
      this.#sql.exec("INSERT INTO heads VALUES (?, ?, ?, ?, ?, ?)", ...keyOf(segment), next, piece.buffer);
      next += piece.length / HEAD_BYTES;
    }
  }

  #first(query: string, ...values: SqlStorageValue[]): Row | undefined {
    return this.#sql.exec(query, ...values).toArray()[0];
  }
}

function keyOf({ epoch, rank, worldSize, startIndex }: Segment): [number, number, number, number] {
  return [epoch, rank, worldSize, startIndex];
}

function toLease(row: Row): LeaseRecord {
  return {
    lease: row.lease as number,
    generation: row.generation as number,
    epoch: row.epoch as number,
    rank: row.rank as number,
    firstBatch: row.first_batch as number,
    tokenId: row.token_id as string,
    nodeId: row.node_id as string | null,
    at: row.attached_at as number,
    ...(row.acknowledged !== null && {
      acknowledgement: {
        batches: row.acknowledged as number,
        at: row.acknowledged_at as number,
        ...(row.consumer_key !== null && {
          consumer: {
            publicKey: new Uint8Array(row.consumer_key as ArrayBuffer),
            signature: new Uint8Array(row.consumer_signature as ArrayBuffer),
            nodeId: row.consumer_node as string | null,
          },
        }),
      },
    }),
  };
}

function toStart(row: Row | undefined): EpochStart | undefined {
  return (
    row && {
      generation: { number: row.number as number, worldSize: row.world_size as number },
      epoch: row.epoch as number,
      startIndex: row.start_index as number,
      requestedStart: row.requested_start as number,
    }
  );
}

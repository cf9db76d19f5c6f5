import { equalBytes } from "../core/bytes.ts";
import type { ChunkLocation, ShardLocation } from "../core/erasure/location.ts";
import { auditShard } from "./heal.ts";
import type { RangeMemory } from "./range-memory.ts";
import { readRange, rebuildRange } from "./rebuild.ts";
import type { ShardReader } from "./shard-reader.ts";

/**
 * Fills `destination` (as long as a shard) with a whole shard that has the hash stored for it: the shard
 * itself, or rebuilt from others where it is missing or lies, which is then reported.
 * @throws DataStreamError `data_loss` naming chunk and nodes, `unavailable`, `canceled`, `resource_exhausted`.
 */
export async function readVerifiedShard(
  reader: ShardReader,
  memory: RangeMemory,
  chunk: ChunkLocation,
  index: number,
  destination: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  const { blake3 } = reader.deps.kernels;
  const range = { chunk, index, offset: 0, length: chunk.shardLength };
  const sink = (offset: number, bytes: Uint8Array): void => destination.set(bytes, offset);
  const options = signal === undefined ? {} : { signal };
  const { hash } = chunk.shards[index] as ShardLocation;
  // A shard that is read in part and rebuilt in part can be wrong in either; the retry below tells.
  await readRange(reader, memory, range, sink, options);
  if (equalBytes(blake3.hash(destination), hash)) return;

  const audits = new Map<number, Promise<boolean>>();
  const accept = (each: number): Promise<boolean> => {
    let audit = audits.get(each);
    if (audit === undefined) audits.set(each, (audit = auditShard(reader, memory, chunk, each, signal)));
    return audit;
  };
  if (await accept(index)) await readRange(reader, memory, range, sink, options);
  else await rebuildRange(reader, memory, range, sink, { ...options, accept });
  if (!equalBytes(blake3.hash(destination), hash)) throw reader.contradictionIn(chunk);
}

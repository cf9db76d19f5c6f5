/** The key of one shard on its node. A repaired shard gets a new generation: keys are written once. */
export function shardKey(chunkId: string, shardIndex: number, generation: number): string {
  return `${chunkId}/${shardIndex}.${generation}`;
}

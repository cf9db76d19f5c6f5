/** What can go wrong with storage, done on purpose: past the gateway, straight in the buckets. */
import type { Gateway } from "../stack/gateway.ts";

/** Deletes every object of a storage node. @returns how many there were. */
export async function emptyNode(gateway: Gateway, node: number): Promise<number> {
  const bucket = await gateway.bucket(node);
  let deleted = 0;
  for (;;) {
    const { objects } = await bucket.list({ limit: 1000 });
    if (objects.length === 0) return deleted;
    await bucket.delete(objects.map((object) => object.key));
    deleted += objects.length;
  }
}

/** Flips one bit in the middle of one stored shard. */
export async function corruptShard(gateway: Gateway, node: number, key: string): Promise<void> {
  const bucket = await gateway.bucket(node);
  const stored = await bucket.get(key);
  if (stored === null) throw new Error(`Node ${node} has no shard ${key}.`);
  const bytes = new Uint8Array(await stored.arrayBuffer());
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] as number) ^ 1;
  await bucket.put(key, bytes);
}

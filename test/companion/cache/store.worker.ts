/** A process that stores items in a shared cache until it has all of them, or is killed. */
import { ItemCache } from "../../../companion/cache/item-cache.ts";
import { kernels, noise } from "../../stream/fixture.ts";

const [directory, limit, first, count, bytes] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const cache = await ItemCache.open({
  directory,
  limitBytes: Number(limit),
  segmentBytes: Number(limit) / 16,
});
for (let id = Number(first); id < Number(first) + Number(count); id++) {
  const item = noise(Number(bytes), id);
  await cache.put([{ hash: kernels.blake3.hash(item), bytes: item }], Infinity);
  process.send?.({ stored: id });
}
process.send?.({ done: cache.count });
await cache.close();
process.disconnect();

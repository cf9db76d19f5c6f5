/** Orders for tests: short to write down. */
import { createOrder, type Order } from "../../core/stream/order.ts";

export const contentHash: Uint8Array = Uint8Array.from({ length: 32 }, (_, i) => i * 7 + 1);

/** [B, L, W] of a block shuffle, or the name of another mode. */
export type Shape = "sequential" | "full" | readonly [number, number, number];

export function order(shape: Shape, count: number, seed: bigint = 1n, epoch: number = 0): Order {
  const base = { count, contentHash, seed, epoch };
  if (typeof shape === "string") return createOrder({ ...base, mode: shape });
  const [blockSize, lanes, blocksPerGroup] = shape;
  return createOrder({ ...base, mode: "block", block: { blockSize, lanes, blocksPerGroup } });
}

export function itemsOf(of: Order): number[] {
  return Array.from({ length: of.count }, (_, position) => of.itemAt(position));
}

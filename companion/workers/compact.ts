import { DataStreamError } from "../../core/errors.ts";
import type { OutputFormat } from "../decode/output-format.ts";
import type { ItemResult } from "./job.ts";

/**
 * Closes the gaps that failed items left in a batch's tensor: item i of `results` lies at position i before, and the
 * good ones lie next to each other, in their order, afterwards.
 * @param data from the tensor's first byte on.
 * @returns how many items are left.
 * @throws `internal` for kind "bytes", whose items only fail when a batch fails as a whole.
 */
export function compact(
  data: Uint8Array,
  { kind, itemBytes }: Pick<OutputFormat, "kind" | "itemBytes">,
  results: readonly ItemResult[],
): number {
  let kept = 0;
  for (const [i, { ok }] of results.entries()) {
    if (!ok) continue;
    if (kept < i && kind === "bytes")
      throw new DataStreamError("internal", "Items that stay bytes cannot be left out.");
    if (kept < i) data.copyWithin(kept * itemBytes, i * itemBytes, (i + 1) * itemBytes);
    kept++;
  }
  return kept;
}

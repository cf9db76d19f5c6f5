/** Frozen filter views: which items of a dataset pass a filter. A version never changes, so a view is good for ever. */
import { pathPages } from "../../../catalog/views.ts";
import { canonicalJson } from "../../../core/canonical-json.ts";
import {
  filterPredicate,
  literalPrefix,
  viewHash,
  type DatasetFilter,
} from "../../../core/dataset/filter.ts";
import { DataStreamError, invalidArgument } from "../../../core/errors.ts";
import { VIEW_MAX_ITEMS, VIEWS_MAX_BYTES } from "../../../core/limits.ts";
import type { Blake3, Sql } from "../../../core/ports.ts";

export interface View {
  /** Item indices, ascending. */
  readonly positions: Uint32Array;
  readonly hash: Uint8Array;
}

/** A view in use. It stays in memory until it is released; releasing twice has no effect. */
export interface HeldView extends View {
  release(): void;
}

interface Entry {
  readonly view: View;
  holders: number;
}

/** Views of one isolate, those in use and the ones used last, in at most `maxBytes`. */
export class Views {
  readonly #maxBytes: number;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(maxBytes: number = VIEWS_MAX_BYTES) {
    this.#maxBytes = maxBytes;
  }

  /**
   * @throws `invalid_argument` when nothing passes the filter or too much does, `resource_exhausted` when the
   *   isolate holds too many others.
   */
  async hold(
    deps: { readonly sql: Sql; readonly blake3: Blake3 },
    datasetId: string,
    filter: DatasetFilter,
  ): Promise<HeldView> {
    const key = canonicalJson({ datasetId, prefix: filter.prefix ?? null, globs: filter.globs ?? null });
    const entry = this.#entries.get(key) ?? this.#add(key, await buildView(deps, datasetId, filter));
    this.#entries.delete(key);
    this.#entries.set(key, entry); // the last used is the last to go
    entry.holders++;
    let held = true;
    return {
      ...entry.view,
      release: () => {
        if (held) entry.holders--;
        held = false;
      },
    };
  }

  #add(key: string, view: View): Entry {
    // Another request may have built the same one meanwhile.
    const there = this.#entries.get(key);
    if (there !== undefined) return there;
    const bytes = view.positions.byteLength;
    for (const [other, entry] of this.#entries) {
      if (this.#bytes + bytes <= this.#maxBytes) break;
      if (entry.holders > 0) continue;
      this.#entries.delete(other);
      this.#bytes -= entry.view.positions.byteLength;
    }
    if (this.#bytes + bytes > this.#maxBytes)
      throw new DataStreamError(
        "resource_exhausted",
        "The gateway is busy with other filtered streams. Try again shortly.",
      );
    const entry: Entry = { view, holders: 0 };
    this.#entries.set(key, entry);
    this.#bytes += bytes;
    return entry;
  }
}

async function buildView(
  { sql, blake3 }: { readonly sql: Sql; readonly blake3: Blake3 },
  datasetId: string,
  filter: DatasetFilter,
): Promise<View> {
  const passes = filterPredicate(filter);
  let found = new Uint32Array(1024);
  let count = 0;
  for await (const page of pathPages(sql, datasetId, literalPrefix(filter))) {
    for (const { index, path } of page) {
      if (!passes(path)) continue;
      if (count === VIEW_MAX_ITEMS)
        throw invalidArgument(
          "filter",
          `more than ${VIEW_MAX_ITEMS} files pass it. Narrow it, or make a dataset of these files.`,
          { limit: VIEW_MAX_ITEMS },
        );
      if (count === found.length) {
        const larger = new Uint32Array(Math.min(VIEW_MAX_ITEMS, count * 2));
        larger.set(found);
        found = larger;
      }
      found[count++] = index;
    }
  }
  if (count === 0) throw invalidArgument("filter", "no file of the dataset passes it.", { limit: 1 });
  const positions = found.subarray(0, count).toSorted(); // typed arrays sort by number
  return { positions, hash: viewHash(positions, blake3) };
}

/** Lists that the gateway hands out page by page. */
import { DataStreamError } from "../core/errors.ts";
import { type Gateway, query } from "./http.ts";

/**
 * Every item of a list, page after page; a page without `next_cursor` is the last.
 * @param member name of the array in each answer.
 * @throws DataStreamError `internal` when a cursor comes again: such a list would never end.
 */
export async function* pages<T>(
  gateway: Gateway,
  route: string,
  member: string,
  parameters: Readonly<Record<string, string | number | undefined>> = {},
): AsyncGenerator<T, void, undefined> {
  const seen = new Set<string>();
  for (let cursor: string | undefined; ;) {
    const page = await gateway.json<Readonly<Record<string, unknown>>>(
      "GET",
      `${route}${query({ ...parameters, cursor })}`,
    );
    yield* page[member] as readonly T[];
    const next = page["next_cursor"] as string | null | undefined;
    if (!next) return;
    if (seen.has(next)) {
      throw new DataStreamError(
        "internal",
        `The gateway's list at ${route} comes back to a page that it gave before. Tell the operator.`,
      );
    }
    seen.add(next);
    cursor = next;
  }
}

/** All of a list that is short enough to hold. */
export async function all<T>(list: AsyncIterable<T>): Promise<readonly T[]> {
  const items: T[] = [];
  for await (const item of list) items.push(item);
  return items;
}

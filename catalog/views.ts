/** What a stream needs to know of a whole dataset before its first batch: paths for a filter, sizes for a limit. */
import type { Sql } from "../core/ports.ts";
import { numberOf, statement, textOf } from "./sql.ts";

export interface FilePath {
  readonly index: number;
  readonly path: string;
}

/** Rows of one page: about a megabyte. */
const PAGE_ROWS = 20_000;

/**
 * All files whose path begins with `prefix`, in path order, page by page.
 * @yields pages; the last may be empty.
 */
export async function* pathPages(
  sql: Sql,
  datasetId: string,
  prefix: string,
): AsyncGenerator<readonly FilePath[]> {
  const end = afterPrefix(prefix);
  for (let after: string | undefined; ;) {
    const rows = await sql.query(statement`
      SELECT file_index, path_in_dataset FROM dataset_files
      WHERE dataset_id = ${datasetId} AND path_in_dataset >= ${after ?? prefix}
        AND (${after ?? null}::text IS NULL OR path_in_dataset > ${after ?? null}::text)
        AND (${end ?? null}::text IS NULL OR path_in_dataset < ${end ?? null}::text COLLATE "C")
      ORDER BY path_in_dataset LIMIT ${PAGE_ROWS}`);
    const page = rows.map((row) => ({
      index: numberOf(row, "file_index"),
      path: textOf(row, "path_in_dataset"),
    }));
    yield page;
    after = page.at(-1)?.path;
    if (page.length < PAGE_ROWS) return;
  }
}

/** Sum of the `count` largest files: no selection of that many is larger. Reads every row of the dataset. */
export async function sumOfLargest(sql: Sql, datasetId: string, count: number): Promise<number> {
  const [row] = await sql.query(statement`
    SELECT coalesce(sum(size_bytes), 0)::int8 AS bytes FROM (
      SELECT size_bytes FROM dataset_files WHERE dataset_id = ${datasetId}
      ORDER BY size_bytes DESC LIMIT ${count}) AS largest`);
  return row === undefined ? 0 : numberOf(row, "bytes");
}

/** The least text, by code point, above everything that begins with `prefix`; undefined when there is none. */
export function afterPrefix(prefix: string): string | undefined {
  const characters = Array.from(prefix); // by code point
  for (let last = characters.pop(); last !== undefined; last = characters.pop()) {
    const point = last.codePointAt(0) as number;
    // Surrogates are no characters, so U+E000 follows U+D7FF.
    if (point < 0x10ffff)
      return characters.join("") + String.fromCodePoint(point === 0xd7ff ? 0xe000 : point + 1);
  }
  return undefined;
}

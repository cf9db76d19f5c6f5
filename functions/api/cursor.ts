/** Cursors of lists: opaque to callers, the place where the next page begins to us. */
import { isUuid } from "../../core/dataset/name.ts";
import { fromUtf8, utf8 } from "../../core/text.ts";
import { invalidArgument } from "../../core/errors.ts";

export function encodeCursor(place: string): string {
  return btoa(String.fromCharCode(...utf8(place)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** @throws DataStreamError `invalid_argument` for anything that no list handed out. */
export function decodeCursor(cursor: string): string {
  const place = fromBase64Url(cursor);
  if (place === undefined || place.includes("\0")) {
    throw invalidArgument("cursor", "use `next_cursor` of an earlier answer, or leave it out.");
  }
  return place;
}

/** Where a list by time of creation goes on: after this row. Times are exact to the millisecond. */
export interface ListPosition {
  readonly createdAtMs: number;
  readonly id: string;
}

export function positionCursor({ createdAt, id }: { readonly createdAt: Date; readonly id: string }): string {
  return encodeCursor(`${createdAt.getTime()}/${id}`);
}

/** @throws DataStreamError `invalid_argument` for anything that no list handed out. */
export function decodePosition(cursor: string | undefined): ListPosition | undefined {
  if (cursor === undefined) return undefined;
  const [time, id = ""] = decodeCursor(cursor).split("/");
  const createdAtMs = Number(time);
  if (Number.isSafeInteger(createdAtMs) && Math.abs(createdAtMs) <= 8.64e15 && isUuid(id))
    return { createdAtMs, id };
  throw invalidArgument("cursor", "use `next_cursor` of an earlier answer, or leave it out.");
}

function fromBase64Url(text: string): string | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) return undefined;
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return fromUtf8(Uint8Array.from(binary, (character) => character.charCodeAt(0)));
  } catch {
    return undefined;
  }
}

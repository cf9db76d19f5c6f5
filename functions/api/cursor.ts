/** Cursors of lists: opaque to callers, the place where the next page begins to us. */
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

function fromBase64Url(text: string): string | undefined {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) return undefined;
  try {
    const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
    return fromUtf8(Uint8Array.from(binary, (character) => character.charCodeAt(0)));
  } catch {
    return undefined;
  }
}

import { readFileSync } from "node:fs";
import { type KnownKey, parseKnownKeys } from "../core/trust/known-keys.ts";

/**
 * The keys of a known-keys file, for the client's option `knownKeys`; none where there is no file.
 * @throws DataStreamError `invalid_argument` naming the file and the line that is malformed.
 */
export function readKnownKeys(file: string): readonly KnownKey[] {
  try {
    return parseKnownKeys(readFileSync(file, "utf8"), file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

import { openAsBlob } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import type { UploadFile } from "../client/uploads.ts";
import { checkPath } from "../core/dataset/path.ts";
import { compareUtf8 } from "../core/text.ts";

/** A file found below a folder. */
export interface FoundFile {
  /** Relative to the folder, segments separated by `/`. */
  readonly path: string;
  readonly size: number;
  readonly file: string;
}

/**
 * Regular files below a folder, in path-byte order. Symbolic links to files are followed, links to
 * folders and everything else are passed over.
 * @throws DataStreamError `invalid_argument` naming a path that cannot be stored.
 */
export async function findFiles(folder: string): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  const visit = async (relative: string): Promise<void> => {
    for (const entry of await readdir(join(folder, relative), { withFileTypes: true })) {
      const path = relative === "" ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory()) {
        await visit(path);
        continue;
      }
      const file = join(folder, path);
      const stats = await stat(file).catch((error: unknown) => {
        // A link that leads nowhere is no file; anything else that cannot be read must not be left out unseen.
        if (entry.isSymbolicLink() && (error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
        throw error;
      });
      if (stats?.isFile() !== true) continue;
      checkPath(path, "path");
      found.push({ path, size: stats.size, file });
    }
  };
  await visit("");
  return found.toSorted((left, right) => compareUtf8(left.path, right.path));
}

/** Opens files one after the other; their bytes are read when they are sent. */
export async function* openFiles(files: readonly FoundFile[]): AsyncGenerator<UploadFile> {
  for (const { path, file } of files) yield { path, blob: await openAsBlob(file) };
}

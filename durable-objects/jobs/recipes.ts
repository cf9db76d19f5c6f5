/**
 * How published files are taken apart. What comes out depends on their bytes alone: paths and contents are part of
 * what the registry means by the unpacked form, see docs/registry.md. A recipe's output never changes.
 */
import type { Recipe } from "../../catalog/registry.ts";
import { viewOf } from "../../core/bytes.ts";
import { DataStreamError } from "../../core/errors.ts";
import { IDX_MAX_ITEMS, UNPACK_MAX_FILES } from "../../core/limits.ts";
import { quoted } from "../../core/text.ts";
import { iterablePieces, PieceSource } from "../../storage/byte-source.ts";
import { readTar } from "../../storage/uploads/tar-reader.ts";
import { toStream } from "./stored-objects.ts";

export interface Archive {
  /** As published. */
  readonly path: string;
  /** From the start; may be called again. */
  read(): AsyncIterable<Uint8Array>;
}

export interface UnpackedFile {
  readonly path: string;
  /** Undefined where only its end tells. */
  readonly size: number | undefined;
  /** Need not be read. */
  readonly source: PieceSource;
}

/**
 * The files, always in the same order.
 * @param archives by path.
 * @throws `failed_precondition` when the files are not of the recipe's kind.
 */
export function unpack(recipe: Recipe, archives: readonly Archive[]): AsyncGenerator<UnpackedFile> {
  switch (recipe) {
    case "tar":
      return unpackTars(archives);
    case "gzip":
      return unpackGzips(archives);
    case "idx":
      return unpackIdx(archives);
  }
}

/** The regular files of all archives, gzipped or not, under the paths that they have there. */
async function* unpackTars(archives: readonly Archive[]): AsyncGenerator<UnpackedFile> {
  for (const archive of archives) {
    const bytes = inflated(archive);
    try {
      for await (const file of readTar(iterablePieces(bytes), UNPACK_MAX_FILES)) {
        yield file;
        await drain(file.source);
      }
    } catch (error) {
      if (error instanceof DataStreamError && error.code === "invalid_argument")
        throw unfit(archive, error.message);
      throw error;
    } finally {
      await bytes.return(undefined);
    }
  }
}

/** Each file without its `.gz`; what is not gzipped, as it is. */
async function* unpackGzips(archives: readonly Archive[]): AsyncGenerator<UnpackedFile> {
  for (const archive of archives) {
    const bytes = inflated(archive);
    const path = archive.path.replace(/\.gz$/, "");
    try {
      yield { path, size: undefined, source: new PieceSource(iterablePieces(bytes)) };
    } finally {
      await bytes.return(undefined);
    }
  }
}

const IMAGES = /^(.*)-images-idx3-ubyte(?:\.gz)?$/;

/**
 * Pairs of `NAME-images-idx3-ubyte` and `NAME-labels-idx1-ubyte` (http://yann.lecun.com/exdb/mnist/), gzipped or not:
 * each image as `NAME/LABEL/00042.raw`, its grey values row by row. The number counts from 0 over all labels.
 */
async function* unpackIdx(archives: readonly Archive[]): AsyncGenerator<UnpackedFile> {
  for (const archive of archives) {
    const name = IMAGES.exec(archive.path)?.[1];
    if (name === undefined) continue;
    const ofLabels = archives.find(({ path }) => path.startsWith(`${name}-labels-idx1-ubyte`));
    if (ofLabels === undefined) throw unfit(archive, "there are no labels for it");
    const labels = await idxLabels(ofLabels);
    const bytes = inflated(archive);
    try {
      const source = new PieceSource(iterablePieces(bytes));
      const [count = 0, rows = 0, columns = 0] = await idxHeader(archive, source, 3);
      if (count !== labels.length) throw unfit(archive, `it has ${count} images for ${labels.length} labels`);
      const size = rows * columns;
      for (let i = 0; i < count; i++) {
        const image = new Uint8Array(size);
        if ((await source.readInto(image)) < size) throw unfit(archive, "it ends within an image");
        const path = `${name}/${labels[i]}/${String(i).padStart(5, "0")}.raw`;
        yield { path, size, source: new PieceSource(iterablePieces(image)) };
      }
    } finally {
      await bytes.return(undefined);
    }
  }
}

async function idxLabels(archive: Archive): Promise<Uint8Array> {
  const bytes = inflated(archive);
  try {
    const source = new PieceSource(iterablePieces(bytes));
    const [count = 0] = await idxHeader(archive, source, 1);
    const labels = new Uint8Array(count);
    if ((await source.readInto(labels)) < count) throw unfit(archive, "it ends within the labels");
    return labels;
  } finally {
    await bytes.return(undefined);
  }
}

/** Sizes of the dimensions: 00 00 08 (unsigned bytes), their number, and a big-endian u32 for each. */
async function idxHeader(archive: Archive, source: PieceSource, dimensions: number): Promise<number[]> {
  const header = new Uint8Array(4 + 4 * dimensions);
  await source.readInto(header);
  const view = viewOf(header);
  if (view.getUint32(0) !== 0x0800 + dimensions)
    throw unfit(archive, `it is no idx file of bytes in ${dimensions} dimensions`);
  const sizes = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 + 4 * i));
  if (
    sizes.reduce((product, size) => product * size, 1) > Number.MAX_SAFE_INTEGER ||
    (sizes[0] ?? 0) > IDX_MAX_ITEMS
  )
    throw unfit(archive, `it has more than ${IDX_MAX_ITEMS} items`);
  return sizes;
}

/** The archive's bytes, unzipped where they begin as gzip does (RFC 1952). */
async function* inflated(archive: Archive): AsyncGenerator<Uint8Array> {
  const bytes = archive.read()[Symbol.asyncIterator]();
  const again: AsyncIterable<Uint8Array> = { [Symbol.asyncIterator]: () => bytes };
  let first = await bytes.next();
  while (first.done !== true && first.value.length === 0) first = await bytes.next();
  if (first.done === true) return;
  const head = first.value;
  const whole = (async function* (): AsyncGenerator<Uint8Array> {
    yield head;
    yield* again;
  })();
  if (head[0] !== 0x1f || head[1] !== 0x8b) return yield* whole;
  const reader = toStream(whole).pipeThrough(new DecompressionStream("gzip")).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        throw error instanceof DataStreamError ? error : unfit(archive, "it is no whole gzip file");
      });
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

async function drain(source: PieceSource): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  while ((await source.readInto(buffer)) > 0);
}

function unfit({ path }: Archive, reason: string): DataStreamError {
  return new DataStreamError("failed_precondition", `${quoted(path)} cannot be unpacked: ${reason}.`, {
    details: { path },
  });
}

/** The project's real digits, in the forms in which datasets are published. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { packTar } from "modern-tar";

const SIDE = 8;

export const DIGITS_GZ: Uint8Array = readFileSync(
  join(import.meta.dirname, "..", "..", "scripts", "demo", "data", "optical-digits.csv.gz"),
);
export const DIGITS_CSV: Uint8Array = gunzipSync(DIGITS_GZ);

export interface PublishedBytes {
  readonly path: string;
  readonly bytes: Uint8Array;
}

interface Digit {
  readonly pixels: Uint8Array;
  readonly label: number;
}

/** The first `count` digits of the file. */
export function digits(count: number): readonly Digit[] {
  const lines = new TextDecoder().decode(DIGITS_CSV).trim().split("\n").slice(0, count);
  return lines.map((line) => {
    const values = line.split(",").map(Number);
    return { pixels: Uint8Array.from(values.slice(0, SIDE * SIDE)), label: values[SIDE * SIDE] as number };
  });
}

/** As MNIST is published: images and labels in idx files, gzipped. */
export function idxFiles(name: string, of: readonly Digit[]): readonly PublishedBytes[] {
  const images = Buffer.concat([header(0x0803, of.length, SIDE, SIDE), ...of.map(({ pixels }) => pixels)]);
  const labels = Buffer.concat([header(0x0801, of.length), Uint8Array.from(of, ({ label }) => label)]);
  return [
    { path: `${name}-images-idx3-ubyte.gz`, bytes: new Uint8Array(gzipSync(images)) },
    { path: `${name}-labels-idx1-ubyte.gz`, bytes: new Uint8Array(gzipSync(labels)) },
  ];
}

/** What the idx recipe makes of these. */
export function idxContents(name: string, of: readonly Digit[]): readonly PublishedBytes[] {
  return of.map(({ pixels, label }, i) => ({
    path: `${name}/${label}/${String(i).padStart(5, "0")}.raw`,
    bytes: pixels,
  }));
}

export async function tarFile(path: string, files: readonly PublishedBytes[]): Promise<PublishedBytes> {
  const bytes = await packTar(
    files.map((file) => ({
      header: { name: file.path, size: file.bytes.length, mtime: new Date(0) },
      body: file.bytes,
    })),
  );
  return { path, bytes: path.endsWith(".gz") ? new Uint8Array(gzipSync(bytes)) : bytes };
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

function header(magic: number, ...sizes: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(4 + 4 * sizes.length);
  for (const [i, value] of [magic, ...sizes].entries()) bytes.writeUInt32BE(value, 4 * i);
  return bytes;
}

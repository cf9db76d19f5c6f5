/**
 * Compiles `kernels/assembly` to `kernels/kernels.wasm`. The file is committed, because a
 * deployment must not depend on a compiler; `--check` fails when it differs from a rebuild.
 */
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { main as compile } from "assemblyscript/asc";

const ROOT = new URL("..", import.meta.url);
const OUTPUT = new URL("kernels/kernels.wasm", ROOT);

/**
 * Only passes that keep every statement where it stands. The others sink an assignment into its next
 * use or copy constants into every use: that undoes the order in which two independent groups of
 * lanes alternate (kernels/assembly/blake3/compress8.ts), and costs the hash a fifth of its speed.
 */
const PASSES = [
  "simplify-locals-notee-nostructure",
  "vacuum",
  "precompute",
  "coalesce-locals",
  "vacuum",
  "dce",
  "remove-unused-brs",
  "merge-blocks",
  "remove-unused-names",
  "vacuum",
];

/** The memory is imported so that its size is chosen at instantiation; `--memoryBase` leaves room for scratch.ts. */
const OPTIONS = [
  "kernels/assembly/index.ts",
  "-O0",
  `--runPasses=${PASSES.join()}`,
  "--runtime=stub",
  "--use=abort=",
  "--enable=simd",
  "--importMemory",
  "--noExportMemory",
  "--memoryBase=16384",
  "--outFile=kernels.wasm",
];

async function build(): Promise<Uint8Array> {
  let binary: Uint8Array | undefined;
  const problems: string[] = [];
  const { error } = await compile(OPTIONS, {
    readFile: async (name: string, base: string) => {
      try {
        return await readFile(new URL(name, new URL(`${base}/`, ROOT)), "utf8");
      } catch {
        return null;
      }
    },
    writeFile: (_name: string, contents: Uint8Array | string) => {
      if (typeof contents !== "string") binary = contents;
    },
    listFiles: () => [],
    stderr: { write: (text: string | Uint8Array) => void problems.push(String(text)) },
  });
  if (error !== null || binary === undefined) {
    throw new Error(`The kernels do not compile.\n${problems.join("")}`, { cause: error });
  }
  return binary;
}

const binary = await build();
if (process.argv.includes("--check")) {
  const committed = await readFile(OUTPUT);
  if (!committed.equals(binary)) {
    console.error(`${fileURLToPath(OUTPUT)} differs from a rebuild. Run: node scripts/build-kernels.ts`);
    process.exitCode = 1;
  }
} else {
  await writeFile(OUTPUT, binary);
  console.log(`kernels/kernels.wasm: ${binary.byteLength} bytes`);
}

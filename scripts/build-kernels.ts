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
 * -O1: higher levels copy vector constants into every use, which costs the hash a quarter of its speed.
 * The memory is imported so that its size is chosen at instantiation; `--memoryBase` leaves room for scratch.ts.
 */
const OPTIONS = [
  "kernels/assembly/index.ts",
  "-O1",
  "--runtime=stub",
  "--use=abort=",
  "--enable=simd",
  "--importMemory",
  "--noExportMemory",
  "--memoryBase=16384",
  "--disableWarning=112",
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

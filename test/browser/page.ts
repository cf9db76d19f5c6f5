/** Runs inside the browser: the client as a web page would use it. */
import { DataStreamClient } from "../../client/client.ts";
import { toHex } from "../../core/bytes.ts";
import { loadKernels } from "../../kernels/index.ts";

/** Digest of `length` bytes 0, 1, … 250, 0, 1, … as in the BLAKE3 test vectors. */
async function digest(length: number): Promise<string> {
  const { blake3 } = await loadKernels({ heapBytes: 1 << 20 });
  return toHex(blake3.hash(Uint8Array.from({ length }, (_, i) => i % 251)));
}

interface Streamed {
  readonly paths: readonly string[];
  readonly head: string;
}

async function uploadAndStream(gateway: string, apiKey: string, count: number): Promise<Streamed> {
  const client = new DataStreamClient({ gateway, apiKey });
  await client.objects.ensureBucket("pages", { chunkBytes: 4096 });
  async function* files(): AsyncGenerator<{ path: string; blob: Blob }> {
    for (let i = 0; i < count; i++)
      yield { path: `c/${String(i).padStart(3, "0")}.txt`, blob: new Blob([`item ${i}`.repeat(i + 1)]) };
  }
  await client.uploadFolder({ bucket: "pages", prefix: "from-browser/" }, files());
  await client.datasets.create({
    name: "pages",
    files: ["pages/from-browser/**"],
    schema: { type: "text", format: "txt" },
  });
  const paths: string[] = [];
  let head = "";
  for await (const batch of client.streamBatches({
    dataset: "pages",
    batchSize: 8,
    shuffle: true,
    seed: 4,
  })) {
    paths.push(...batch.paths);
    head = toHex(batch.transcriptHead);
  }
  return { paths, head };
}

Object.assign(globalThis, { page: { digest, uploadAndStream } });

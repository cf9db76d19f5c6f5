/** Runs one case inside workerd: `GET /?case=NUMBER` answers 200, or 500 with what failed. */
import { type Kernels, loadKernels } from "../../kernels/index.ts";
import { kernelCases, TEST_HEAP_BYTES } from "./cases/index.ts";

let kernels: Promise<Kernels> | undefined;

async function answer(request: Request): Promise<Response> {
  kernels ??= loadKernels({ heapBytes: TEST_HEAP_BYTES });
  const found = kernelCases[Number(new URL(request.url).searchParams.get("case"))];
  try {
    if (found === undefined) throw new Error("no such case");
    found.run(await kernels);
    return new Response(found.name);
  } catch (error) {
    return new Response(error instanceof Error ? error.stack : String(error), { status: 500 });
  }
}

const worker: { fetch(request: Request): Promise<Response> } = { fetch: answer };
export default worker;

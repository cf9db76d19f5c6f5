/** The service's side of the driver's thread: requests with promises for their answers. */
import { Worker } from "node:worker_threads";
import { DataStreamError } from "../../../core/errors.ts";
import type { Answer, NumberedRequest, Request, ThreadOptions } from "./messages.ts";

interface Waiting {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: DataStreamError) => void;
}

export class CudaThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #ended = false;

  /**
   * @param library path or name of libcuda. Whether it is there, the first request tells.
   * @param file what the thread runs, where it is not `thread.ts` beside this one: in a bundle it has another name.
   */
  constructor(library: string, file: URL = new URL("./thread.ts", import.meta.url)) {
    const workerData: ThreadOptions = { library };
    this.#worker = new Worker(file, { name: "cyxcloud-cuda", workerData });
    this.#worker.on("message", (answer: Answer) => this.#settle(answer));
    this.#worker.on("error", (error) => this.#end(error));
    this.#worker.on("exit", () => this.#end(undefined));
    // Alive as long as an answer is due, and no longer.
    this.#worker.unref();
  }

  /**
   * @throws `resource_exhausted` when memory is spent, `failed_precondition` with the driver's own name of the error
   * for everything else that it refuses.
   */
  request(request: Request): Promise<Answer> {
    if (this.#ended) return Promise.reject(endedError(undefined));
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    this.#waiting.set(id, { resolve, reject });
    if (this.#waiting.size === 1) this.#worker.ref();
    this.#worker.postMessage({ ...request, id } satisfies NumberedRequest);
    return promise;
  }

  /** Ends the thread. What it holds is not given back: close its rings before. */
  async close(): Promise<void> {
    this.#end(undefined);
    await this.#worker.terminate();
  }

  #settle(answer: Answer): void {
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (this.#waiting.size === 0) this.#worker.unref();
    if (answer.error === undefined) waiting?.resolve(answer);
    else waiting?.reject(driverError(answer.error));
  }

  #end(cause: unknown): void {
    this.#ended = true;
    for (const { reject } of this.#waiting.values()) reject(endedError(cause));
    this.#waiting.clear();
  }
}

function driverError({ code, message }: { code: string; message: string }): DataStreamError {
  const exhausted = code === "CUDA_ERROR_OUT_OF_MEMORY";
  return new DataStreamError(exhausted ? "resource_exhausted" : "failed_precondition", `CUDA: ${message}.`, {
    details: { field: "backend", cuda: code },
  });
}

function endedError(cause: unknown): DataStreamError {
  return new DataStreamError("internal", "The thread of the CUDA driver ended.", { cause });
}

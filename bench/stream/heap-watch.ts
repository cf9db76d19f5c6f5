/** What V8 holds for the gateway's isolate, asked for over the inspector (https://chromedevtools.github.io/devtools-protocol/). */
import { setTimeout as delay } from "node:timers/promises";

const INTERVAL_MS = 100;

export interface HeapWatch {
  /** Most bytes so far that were alive: objects on the heap and array buffers, each time after a collection. */
  peak(): number;
  stop(): void;
}

interface HeapUsage {
  readonly usedSize: number;
  readonly embedderHeapUsedSize: number;
  readonly backingStorageSize: number;
}

export async function watchHeap(inspectorPort: number): Promise<HeapWatch> {
  const targets = (await (await fetch(`http://127.0.0.1:${inspectorPort}/json`)).json()) as {
    id: string;
    webSocketDebuggerUrl: string;
  }[];
  const target = targets.find(({ id }) => id.endsWith("user:gateway"));
  if (target === undefined) throw new Error("The inspector does not know the gateway.");
  const socket = new WebSocket(target.webSocketDebuggerUrl);
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve, { once: true });
    socket.addEventListener("error", reject, { once: true });
  });

  let peak = 0;
  const stopped = new AbortController();
  const ask = (method: string): Promise<unknown> =>
    new Promise((resolve) => {
      socket.addEventListener(
        "message",
        ({ data }) => resolve((JSON.parse(String(data)) as { result: unknown }).result),
        { once: true },
      );
      socket.send(JSON.stringify({ id: 1, method }));
    });
  const watch = async (): Promise<void> => {
    while (!stopped.signal.aborted) {
      // What is garbage would be collected before an isolate is ended for its size.
      await ask("HeapProfiler.collectGarbage");
      const usage = (await ask("Runtime.getHeapUsage")) as HeapUsage;
      peak = Math.max(peak, usage.usedSize + usage.embedderHeapUsedSize + usage.backingStorageSize);
      await delay(INTERVAL_MS);
    }
  };
  void watch();
  return {
    peak: () => peak,
    stop() {
      stopped.abort();
      socket.close();
    },
  };
}

/** Requests that another process makes, so that its work is not counted. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface LoadRequest {
  readonly path: string;
  readonly contentType: string;
  readonly body: Uint8Array;
  /** Reads the first bytes and then no more, until the load stops; such a request never settles. */
  readonly stall?: boolean;
}

export interface LoadOrder {
  readonly id: number;
  readonly port: number;
  readonly path: string;
  readonly contentType: string;
  readonly body: string;
  readonly stall: boolean;
}

/** `first` and `last` are the ends of the raw answer. */
export type LoadAnswer =
  | {
      readonly id: number;
      readonly bytes: number;
      readonly seconds: number;
      readonly first: string;
      readonly last: string;
    }
  | { readonly id: number; readonly error: string };

export interface Loaded {
  readonly bytes: number;
  readonly seconds: number;
}

export interface Load {
  /** Rejects when the answer is no 200 or is not complete. */
  request(request: LoadRequest): Promise<Loaded>;
  stop(): Promise<void>;
}

export function startLoad(gatewayUrl: string): Load {
  const child = fork(fileURLToPath(new URL("load.ts", import.meta.url)));
  const port = Number(new URL(gatewayUrl).port);
  const waiting = new Map<number, PromiseWithResolvers<Loaded>>();
  let orders = 0;
  child.on("message", (answer: LoadAnswer) => {
    const waiter = waiting.get(answer.id);
    waiting.delete(answer.id);
    const problem = problemOf(answer);
    if (problem !== undefined) waiter?.reject(new Error(problem));
    else waiter?.resolve(answer as Loaded);
  });
  child.on("exit", () => {
    for (const { reject } of waiting.values()) reject(new Error("The load generator ended."));
  });
  return {
    request({ path, contentType, body, stall = false }) {
      const id = orders++;
      const waiter = Promise.withResolvers<Loaded>();
      waiting.set(id, waiter);
      child.send({
        id,
        port,
        path,
        contentType,
        body: Buffer.from(body).toString("base64"),
        stall,
      } satisfies LoadOrder);
      return waiter.promise;
    },
    stop: () => stopChild(child),
  };
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exited = once(child, "exit");
  child.disconnect();
  await exited;
}

function problemOf(answer: LoadAnswer): string | undefined {
  if ("error" in answer) return answer.error;
  const { first, last } = answer;
  if (!first.startsWith("HTTP/1.1 200 ")) return `The gateway answered: ${first.slice(0, 500)}`;
  if (!last.endsWith("\r\n0\r\n\r\n")) return `The answer was cut short after ${answer.bytes} bytes.`;
  const error = last.slice(-500).indexOf('{"error"');
  return error < 0 ? undefined : `The stream failed: ${last.slice(-500).slice(error)}`;
}

import type { BatchMessages, BatchSource } from "../../client/stream/source.ts";
import { DataStreamError } from "../../core/errors.ts";
import type { BatchResponse } from "../../proto/index.ts";
import { discardMessage, messageBuffer } from "../receive/messages.ts";
import type { PipelineObserver } from "./observer.ts";

/**
 * A source whose messages are counted, and whose memory goes back when they are discarded.
 * @param onDiscard is told before the memory goes.
 * @param drain when it aborts, no further message comes: whatever is asked of the source throws `canceled`, which no
 *   stream tries again.
 */
export function observedSource(
  source: BatchSource,
  observer: PipelineObserver,
  onDiscard: (message: BatchResponse) => void,
  drain: AbortSignal,
): BatchSource {
  /** Epochs that were asked for already. */
  const asked = new Set<number>();
  return {
    async open(request, context) {
      observer.requested?.(asked.has(request.epoch));
      asked.add(request.epoch);
      const signal = AbortSignal.any([context.signal, drain]);
      return unlessDrained(drain, async () =>
        observed(source, await source.open(request, { ...context, signal }), observer, drain),
      );
    },
    discard(message) {
      onDiscard(message);
      if (source.discard === undefined) discardMessage(message);
      else source.discard(message);
    },
    isLocal: (message) => source.isLocal?.(message) ?? false,
  };
}

function observed(
  source: BatchSource,
  messages: BatchMessages,
  observer: PipelineObserver,
  drain: AbortSignal,
): BatchMessages {
  const next = messages.next.bind(messages);
  messages.next = async () => {
    const result = await unlessDrained(drain, next);
    if (result.done === true) return result;
    const { items } = result.value;
    if (source.isLocal?.(result.value) === true) observer.cached?.(items.length);
    else observer.received?.(items.length, messageBuffer(result.value).bytes.byteLength);
    return result;
  };
  return messages;
}

async function unlessDrained<T>(drain: AbortSignal, work: () => Promise<T>): Promise<T> {
  try {
    if (!drain.aborted) return await work();
  } catch (error) {
    if (!drain.aborted) throw error;
  }
  throw new DataStreamError("canceled", "The stream receives nothing more.");
}

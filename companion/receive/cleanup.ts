import type { BatchMessages } from "../../client/stream/source.ts";

/** Does something as soon as the generator is left, also before its first value, when none of its own code runs. */
export function withCleanup(messages: BatchMessages, cleanup: () => void | Promise<unknown>): BatchMessages {
  const inner = messages.return.bind(messages);
  messages.return = async (value) => {
    await cleanup();
    return inner(value);
  };
  return messages;
}

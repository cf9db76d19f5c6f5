/** The stream's session as the Worker calls it. */
import { DataStreamError } from "../../../core/errors.ts";
import type {
  Acknowledgement,
  AttachRequest,
  Attachment,
  WindowRecord,
} from "../../../core/stream/session.ts";
import type { SessionReceipt } from "../../../core/stream/receipt.ts";
import type { ConnectionGate } from "../../../storage/connections.ts";
import type { Outcome, StreamSessionObject } from "../../../durable-objects/stream-session.ts";

/** Each call is one round trip; errors are those of core/stream/session.ts, or `unavailable`. */
export interface SessionPort {
  attach(request: AttachRequest): Promise<Attachment>;
  record(window: WindowRecord): Promise<void>;
  acknowledge(acknowledgement: Acknowledgement): Promise<number>;
  /** Undefined for a session that nobody attached to, or that is forgotten. */
  receipt(): Promise<SessionReceipt | undefined>;
}

/** The session of one user, dataset version and stream id: nobody else's request can name it. */
export function sessionPort(
  sessions: DurableObjectNamespace,
  name: { readonly userId: string; readonly datasetId: string; readonly streamId: string },
  connections: ConnectionGate,
): SessionPort {
  const id = sessions.idFromName(JSON.stringify([name.userId, name.datasetId, name.streamId]));
  const session = (sessions as DurableObjectNamespace<StreamSessionObject>).get(id);
  const call = async <T>(send: () => PromiseLike<unknown>): Promise<T> => {
    let answer: Outcome<T>;
    try {
      answer = (await connections.run(async () => send())) as Outcome<T>;
    } catch (cause) {
      throw new DataStreamError("unavailable", "The stream's session does not answer. Try again.", { cause });
    }
    if (answer.ok) return answer.value;
    const { code, message, details } = answer.error;
    throw new DataStreamError(code, message, { details });
  };
  return {
    attach: (request) => call(() => session.attach(request)),
    record: (window) => call(() => session.record(window)),
    acknowledge: (acknowledgement) => call(() => session.acknowledge(acknowledgement)),
    receipt: () => call(() => session.receipt()),
  };
}

/** One request to the gateway and what came of it: REST, unary and streaming calls in one form. */

export interface GatewayRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Whether the answer is a stream of messages. */
  readonly streams?: boolean;
}

export interface Answer {
  readonly accepted: boolean;
  /** Closed code of the error; `ok` where it was accepted. */
  readonly code: string;
}

export const ACCEPTED: Answer = { accepted: true, code: "ok" };
export const refusedAs = (code: string): Answer => ({ accepted: false, code });

export type Send = (request: GatewayRequest) => Promise<Answer>;

export function sender(gateway: string): Send {
  return async (request) => {
    const response = await exchange(gateway, request);
    if (request.streams === true && response.ok) return streamAnswer(response);
    const text = await response.text();
    const value = parsed(text) as { readonly code?: unknown; readonly valid?: unknown } | undefined;
    // Asking whether a token is valid is always answered; its answer is what counts.
    if (response.ok) return value?.valid === false ? refusedAs("unauthenticated") : ACCEPTED;
    return refusedAs(typeof value?.code === "string" ? value.code : `status ${response.status}`);
  };
}

export function exchange(gateway: string, request: GatewayRequest): Promise<Response> {
  const { method, path, headers = {}, body, streams = false } = request;
  const type = streams ? "application/connect+json" : "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  return fetch(new URL(path, gateway), {
    method,
    headers: { ...(text !== undefined && { "content-type": type }), ...headers },
    ...(text !== undefined && { body: streams ? framed(text) : text }),
  });
}

/** One message of the Connect protocol: flags, length, JSON. */
function framed(text: string): Uint8Array<ArrayBuffer> {
  const message = new TextEncoder().encode(text);
  const frame = new Uint8Array(5 + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, 5);
  return frame;
}

/** The last message of a stream says how it ended. */
async function streamAnswer(response: Response): Promise<Answer> {
  const bytes = new Uint8Array(await response.arrayBuffer());
  const view = new DataView(bytes.buffer);
  for (let at = 0; at + 5 <= bytes.length;) {
    const length = view.getUint32(at + 1);
    if ((view.getUint8(at) & 2) !== 0) {
      const end = parsed(new TextDecoder().decode(bytes.subarray(at + 5, at + 5 + length))) as {
        readonly error?: { readonly code: string };
      };
      return end.error === undefined ? ACCEPTED : refusedAs(end.error.code);
    }
    at += 5 + length;
  }
  return refusedAs("the stream has no end");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

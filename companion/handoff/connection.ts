import type { Socket } from "node:net";
import { DataStreamError } from "../../core/errors.ts";
import { HANDOFF_BACKLOG_MAX_BYTES } from "../../core/limits.ts";
import { LineReader } from "./lines.ts";
import type { ClientMessage, ServerMessage } from "./messages.ts";
import { parseClientMessage } from "./parse.ts";

/** Who answers a connection. */
export interface HandoffHandler {
  /** What it throws is told to the client, and ends the connection. */
  message(message: ClientMessage): void;
  /**
   * The connection is over, whoever ended it; comes exactly once, and no message after it. When it resolves the client
   * sees the end: nothing of its memory is in use here any more.
   */
  ended(): Promise<void>;
}

/** How long a client that was told why its connection ends may take to read it. */
const FAREWELL_MS = 5_000;

/** One client. Its end is the client's death: the handler frees what it held. */
export class HandoffConnection {
  readonly #socket: Socket;
  readonly #lines = new LineReader();
  #handler: HandoffHandler | undefined;
  /** Nothing is sent or taken any more; resolves when the handler has freed everything. */
  #left: Promise<void> | undefined;

  /** @param socket stays open for writing when the client ends its side. */
  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Begins to read. */
  serve(handler: HandoffHandler): void {
    this.#handler = handler;
    this.#socket.on("data", (chunk: Buffer) => this.#take(chunk));
    // A client that closes its sending side is gone, too: it could release nothing any more.
    this.#socket.on("end", () => this.close());
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => this.close());
  }

  send(message: ServerMessage): void {
    if (this.isOver) return;
    this.#socket.write(`${JSON.stringify(message)}\n`);
    if (this.#socket.writableLength > HANDOFF_BACKLOG_MAX_BYTES) this.close();
  }

  /** Tells the client what went wrong. Causes stay here: they may hold anything. */
  sendError(thrown: unknown): void {
    const { code, message, details } = DataStreamError.from(thrown);
    this.send({ type: "error", code, message, details });
  }

  get isOver(): boolean {
    return this.#left !== undefined;
  }

  /** Ends when everything was read. */
  end(): void {
    this.#leave(() => {
      this.#socket.end();
      this.#socket.setTimeout(FAREWELL_MS, () => this.#socket.destroy());
    });
  }

  /** Ends without waiting for the client; what was not read is lost. */
  close(): void {
    this.#leave(() => this.#socket.destroy());
  }

  #leave(endSocket: () => void): void {
    this.#left ??= this.#handler?.ended() ?? Promise.resolve();
    void this.#left.finally(endSocket);
  }

  #take(chunk: Buffer): void {
    if (this.isOver) return;
    try {
      for (const line of this.#lines.push(chunk)) {
        this.#handler?.message(parseClientMessage(line));
        if (this.isOver) return;
      }
    } catch (error) {
      this.sendError(error);
      this.end();
    }
  }
}

/** A client of the handoff in TypeScript, as docs/formats/handoff-v1.md says: it reads slots through the ring's file. */
import { closeSync, openSync, readSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { ServerMessage, StreamRequest } from "../../../companion/handoff/messages.ts";

type Message<T extends ServerMessage["type"]> = Extract<ServerMessage, { type: T }>;
export type BatchMessage = Message<"batch">;

export class HandoffClient {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;
  #ring: { fd: number; slotBytes: number } | undefined;
  opened: Message<"opened"> | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  static async connect(path: string): Promise<HandoffClient> {
    const socket = connect(path);
    socket.on("error", () => undefined);
    await once(socket, "connect");
    const client = new HandoffClient(socket);
    await client.expect("welcome");
    return client;
  }

  send(message: object): void {
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  /** The next message; undefined at the end of the connection. */
  async next(): Promise<ServerMessage | undefined> {
    const line = await this.#lines.next();
    return line.done === true ? undefined : (JSON.parse(line.value) as ServerMessage);
  }

  async expect<T extends ServerMessage["type"]>(type: T): Promise<Message<T>> {
    const message = await this.next();
    if (message?.type !== type) throw new Error(`Expected ${type}, got ${JSON.stringify(message)}.`);
    return message as Message<T>;
  }

  /** Opens a stream and attaches to its ring. */
  async open(request: StreamRequest): Promise<Message<"opened">> {
    this.send({ type: "open", ...request });
    const opened = await this.expect("opened");
    this.opened = opened;
    if (opened.ring !== null) {
      this.#ring = { fd: openSync(opened.ring.path, "r"), slotBytes: opened.ring.slot_bytes };
      this.send({ type: "attached" });
    }
    return opened;
  }

  /** Bytes of one of a batch's tensors. */
  read({ slot, tensors }: BatchMessage, name: string): Buffer {
    const tensor = tensors.find((candidate) => candidate.name === name);
    if (tensor === undefined || this.#ring === undefined) throw new Error(`The batch has no ${name}.`);
    const elementBytes = { uint8: 1, int32: 4, uint64: 8, float32: 4 }[tensor.dtype as string] ?? 0;
    const length = tensor.shape.reduce((product, dimension) => product * dimension, elementBytes);
    const bytes = Buffer.alloc(length);
    readSync(this.#ring.fd, bytes, 0, length, slot * this.#ring.slotBytes + tensor.offset);
    return bytes;
  }

  release({ lease, slot }: BatchMessage, more: { acknowledge?: boolean; checkpoint?: boolean } = {}): void {
    this.send({ type: "release", lease, slot, ...more });
  }

  /** All batches, each released and acknowledged when the next is asked for. */
  async *batches(): AsyncGenerator<BatchMessage, void, undefined> {
    for (;;) {
      const message = await this.next();
      if (message?.type === "end") return;
      if (message?.type === "error") throw Object.assign(new Error(message.message), message);
      if (message?.type !== "batch") throw new Error(`The connection ended, or brought ${message?.type}.`);
      yield message;
      this.release(message, { acknowledge: true });
    }
  }

  /** Dies: nothing is said. */
  kill(): void {
    if (this.#ring !== undefined) closeSync(this.#ring.fd);
    this.#ring = undefined;
    this.#socket.destroy();
  }

  /** Waits until the companion has closed the connection. */
  async closed(): Promise<void> {
    while ((await this.next()) !== undefined);
  }
}

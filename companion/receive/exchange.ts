import { connect, isIP, type OnReadOpts, type Socket } from "node:net";
import { connect as connectTls, type ConnectionOptions, type SecureContext, type TLSSocket } from "node:tls";
import { canceled } from "../../client/backoff.ts";
import { DataStreamError } from "../../core/errors.ts";
import { RECEIVE_BUFFER_BYTES, RECEIVE_IDLE_MS } from "../../core/limits.ts";
import { ResponseReader, type ResponseHead } from "./http-response.ts";
import type { IdleTimer, StartIdleTimer } from "./idle-timer.ts";

export interface ExchangeOptions {
  readonly url: URL;
  /** Of the request; host, length and the end of the connection are added. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** For https: whom to trust, and who this is. */
  readonly secureContext: SecureContext | undefined;
  /** Runs while bytes are expected. */
  readonly startTimer: StartIdleTimer;
  readonly signal: AbortSignal;
}

/** Who takes the body. Each method may be called once the head is there; after `fail` or `end` none is. */
export interface BodySink {
  /** Takes bytes that are valid during the call; returns how many. Fewer than given pauses the socket until `resume`. */
  take(bytes: Uint8Array): number;
  /** Where the next bytes of the body belong, if they may be written there at once: as many as follow without a gap. */
  window?(): Uint8Array | undefined;
  /** So many bytes of the body were written to the window. */
  wrote?(count: number): void;
  end(): void;
  fail(error: DataStreamError): void;
}

/** Below this a read into the window moves too little to pay for itself. */
const WINDOW_MIN_BYTES = RECEIVE_BUFFER_BYTES / 4;

/**
 * One POST over a connection of its own (HTTP/1.1 over TCP or TLS). It is read into one buffer that is used again and
 * again, or where the sink knows what follows, to where it belongs, without a copy.
 * Which of a name's addresses answers first is found by `net`.
 */
export class Exchange {
  readonly #options: ExchangeOptions;
  readonly #socket: Socket;
  readonly #reader: ResponseReader;
  readonly #head: PromiseWithResolvers<ResponseHead> = Promise.withResolvers();
  readonly #idle: IdleTimer;
  readonly #buffer = new Uint8Array(RECEIVE_BUFFER_BYTES);
  /** The sink's memory that the socket reads into now. */
  #window: Uint8Array | undefined;
  /** What came and the sink did not take yet. TLS still decrypts what it holds when the socket is paused. */
  readonly #kept: Uint8Array[] = [];
  #sink: BodySink | undefined;
  #failure: DataStreamError | undefined;
  #paused = false;
  #closed = false;
  #ended = false;

  private constructor(options: ExchangeOptions) {
    const request = requestBytes(options);
    this.#options = options;
    this.#reader = new ResponseReader({
      head: (head) => this.#head.resolve(head),
      body: (bytes) => this.#sink?.take(bytes) ?? 0,
    });
    this.#socket = open(options, {
      buffer: () => this.#nextBuffer(),
      callback: (count, buffer) => this.#received(buffer, count),
    });
    this.#idle = options.startTimer(RECEIVE_IDLE_MS, () => {
      // Nothing is expected while nothing is read.
      if (!this.#paused) this.#fail(silent());
    });
    this.#socket.setNoDelay(true);
    this.#socket.once("error", (cause: Error) => this.#fail(this.#broken(cause)));
    this.#socket.once("end", () => this.#finish());
    this.#socket.once("close", () => this.#finish());
    options.signal.addEventListener("abort", this.#onAbort, { once: true });
    this.#socket.write(request);
  }

  /**
   * Sends a request; resolves when the answer's head is there.
   * @throws DataStreamError `unavailable` when the server cannot be reached, is silent or not understood; `canceled`.
   */
  static async send(options: ExchangeOptions): Promise<{ exchange: Exchange; head: ResponseHead }> {
    if (options.signal.aborted) throw canceled();
    const exchange = new Exchange(options);
    return { exchange, head: await exchange.#head.promise };
  }

  /** Gives the body to a sink, once. */
  readInto(sink: BodySink): void {
    this.#sink = sink;
    if (this.#failure === undefined) this.resume();
    else sink.fail(this.#failure);
  }

  /** Goes on after the sink took less than it was given. */
  resume(): void {
    while (!this.#closed && this.#kept.length > 0) {
      const piece = this.#kept[0] as Uint8Array;
      const taken = this.#push(piece);
      if (taken < piece.byteLength) {
        if (!this.#closed) this.#kept[0] = piece.subarray(taken);
        return;
      }
      this.#kept.shift();
    }
    if (this.#closed) return;
    if (this.#ended) {
      this.#finish();
      return;
    }
    this.#paused = false;
    this.#idle.refresh();
    this.#socket.resume();
  }

  /** Ends the connection; the sink hears no more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#idle.stop();
    this.#options.signal.removeEventListener("abort", this.#onAbort);
    this.#socket.destroy();
    this.#kept.length = 0;
  }

  readonly #onAbort = (): void => this.#fail(canceled());

  /** Where the socket reads to next; it asks after each read. */
  #nextBuffer(): Uint8Array {
    this.#window = undefined;
    if (this.#closed || this.#kept.length > 0) return this.#buffer;
    const left = this.#reader.bodyLeft;
    const window = left < WINDOW_MIN_BYTES ? undefined : this.#sink?.window?.();
    if (window === undefined || window.byteLength < WINDOW_MIN_BYTES) return this.#buffer;
    this.#window = left < window.byteLength ? window.subarray(0, left) : window;
    return this.#window;
  }

  /** Whether the socket shall read on. */
  #received(buffer: Uint8Array, count: number): boolean {
    if (this.#closed) return false;
    const taken = buffer === this.#window ? this.#wrote(count) : this.#taken(buffer.subarray(0, count));
    if (this.#closed) return false;
    if (taken === count) {
      this.#idle.refresh();
      return true;
    }
    this.#kept.push(buffer.slice(taken, count));
    this.#paused = true;
    return false;
  }

  #taken(piece: Uint8Array): number {
    return this.#kept.length > 0 ? 0 : this.#push(piece);
  }

  #wrote(count: number): number {
    try {
      this.#reader.skipBody(count);
      this.#sink?.wrote?.(count);
      if (this.#reader.done) this.#finish();
    } catch (thrown) {
      this.#fail(DataStreamError.from(thrown));
    }
    return count;
  }

  #push(piece: Uint8Array): number {
    try {
      const taken = this.#reader.push(piece);
      if (!this.#reader.done) return taken;
      // What follows a complete answer belongs to nobody.
      this.#kept.length = 0;
      this.#finish();
      return piece.byteLength;
    } catch (thrown) {
      this.#fail(DataStreamError.from(thrown));
      return 0;
    }
  }

  /** The answer is complete, or the connection is; what was kept comes first. */
  #finish(): void {
    this.#ended = true;
    if (this.#closed || this.#kept.length > 0) return;
    try {
      this.#reader.end();
    } catch (thrown) {
      this.#fail(DataStreamError.from(thrown));
      return;
    }
    const sink = this.#sink;
    if (sink === undefined) return;
    this.close();
    sink.end();
  }

  #fail(error: DataStreamError): void {
    if (this.#closed) return;
    this.close();
    this.#failure = error;
    this.#head.reject(error);
    this.#sink?.fail(error);
  }

  #broken(cause: Error): DataStreamError {
    const { hostname } = this.#options.url;
    const { code = "no code" } = cause as NodeJS.ErrnoException;
    const message =
      this.#socket.bytesRead === 0
        ? `The gateway at ${hostname} cannot be reached (${code}).`
        : `The connection to the gateway broke (${code}).`;
    return new DataStreamError("unavailable", message, { cause });
  }
}

function open({ url, secureContext }: ExchangeOptions, onread: OnReadOpts): Socket | TLSSocket {
  const isTls = url.protocol === "https:";
  // The brackets of an IPv6 address belong to the URL.
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port === "" ? (isTls ? 443 : 80) : Number(url.port);
  if (!isTls) return connect({ host, port, onread });
  // The types do not know that `onread` is taken here, too.
  const options: ConnectionOptions & { onread: OnReadOpts } = {
    host,
    port,
    onread,
    ALPNProtocols: ["http/1.1"],
    ...(isIP(host) === 0 && { servername: host }),
    ...(secureContext !== undefined && { secureContext }),
  };
  return connectTls(options);
}

function requestBytes({ url, headers, body }: ExchangeOptions): Uint8Array {
  const lines = [`POST ${url.pathname}${url.search} HTTP/1.1`, `host: ${url.host}`];
  for (const [name, value] of Object.entries({
    ...headers,
    "content-length": String(body.byteLength),
    connection: "close",
  })) {
    if (/[^\t\x20-\x7e]/.test(`${name}${value}`))
      throw new DataStreamError("invalid_argument", `The header ${JSON.stringify(name)} cannot be sent.`);
    lines.push(`${name}: ${value}`);
  }
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), body]);
}

function silent(): DataStreamError {
  return new DataStreamError("unavailable", `The gateway sent nothing for ${RECEIVE_IDLE_MS / 1000} s.`);
}

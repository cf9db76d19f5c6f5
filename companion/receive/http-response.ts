import { DataStreamError } from "../../core/errors.ts";
import { HTTP_HEAD_MAX_BYTES, HTTP_HEADERS_MAX } from "../../core/limits.ts";

/** Status and headers of an answer; names in lower case, repeated ones joined by a comma. */
export interface ResponseHead {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
}

/** Who takes an answer as it comes. */
export interface ResponseSink {
  head(head: ResponseHead): void;
  /** Takes bytes of the body, which are valid during the call; returns how many. Fewer than given stops the reader. */
  body(bytes: Uint8Array): number;
}

type State = "status" | "headers" | "length" | "close" | "chunk-size" | "chunk-end" | "trailers" | "done";

const CR = 13;
const LF = 10;
const TAB = 9;
const STATUS_LINE = /^HTTP\/1\.1 ([1-5]\d\d)(?: .*)?$/;
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** 13 digits stay exact. Extensions of a chunk may be ignored, and are. */
const CHUNK_LINE = /^([0-9A-Fa-f]{1,13})[ \t]*(?:;.*)?$/;

/**
 * Reads one HTTP/1.1 answer from pieces of any size (RFC 9112): by content-length, chunked, or until the connection
 * closes. It copies lines, and passes the body on as views. What it does not understand ends the answer, so that
 * nothing is taken for data that somebody between might have read differently.
 */
export class ResponseReader {
  readonly #sink: ResponseSink;
  readonly #line = new Uint8Array(HTTP_HEAD_MAX_BYTES);
  #lineBytes = 0;
  /** Of all lines of the head and trailers so far. */
  #headBytes = 0;
  #state: State = "status";
  #status = 0;
  #headers = new Map<string, string>();
  #headerCount = 0;
  #chunked = false;
  /** Bytes to come of the body or the chunk. */
  #left = 0;

  constructor(sink: ResponseSink) {
    this.#sink = sink;
  }

  get done(): boolean {
    return this.#state === "done";
  }

  /** Bytes of the body that follow without anything between; 0 outside of it. */
  get bodyLeft(): number {
    return this.#state === "length" || this.#state === "close" ? this.#left : 0;
  }

  /** So many bytes of `bodyLeft` took another way to the sink. */
  skipBody(count: number): void {
    this.#left -= count;
    if (this.#left === 0) this.#state = this.#chunked ? "chunk-end" : "done";
  }

  /**
   * Takes bytes; returns how many. Fewer than given where the sink stopped, which gets the rest when it comes again,
   * or where the answer is complete.
   * @throws DataStreamError `unavailable` for what is no HTTP/1.1, or is not understood.
   */
  push(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.byteLength && this.#state !== "done") {
      if (this.#state === "length" || this.#state === "close") {
        const offered = bytes.subarray(at, at + Math.min(this.#left, bytes.byteLength - at));
        const taken = this.#sink.body(offered);
        this.skipBody(taken);
        at += taken;
        if (taken < offered.byteLength) return at;
      } else {
        at = this.#takeLine(bytes, at);
      }
    }
    return at;
  }

  /** @throws DataStreamError `unavailable` when the connection ended before the answer did. */
  end(): void {
    if (this.#state === "close") this.#state = "done";
    if (this.#state !== "done")
      throw new DataStreamError("unavailable", "The connection ended before the stream did.");
  }

  /** Copies up to the end of the line, and acts on the line when it is whole. */
  #takeLine(bytes: Uint8Array, at: number): number {
    const found = bytes.indexOf(LF, at);
    const end = found < 0 ? bytes.byteLength : found + 1;
    if (this.#headBytes + (end - at) > HTTP_HEAD_MAX_BYTES)
      throw notUnderstood(`more than ${HTTP_HEAD_MAX_BYTES} bytes of headers`);
    this.#line.set(bytes.subarray(at, end), this.#lineBytes);
    this.#lineBytes += end - at;
    this.#headBytes += end - at;
    if (found >= 0) {
      const line = text(this.#line.subarray(0, this.#lineBytes));
      this.#lineBytes = 0;
      this.#act(line);
    }
    return end;
  }

  #act(line: string): void {
    if (this.#state === "status") this.#readStatus(line);
    else if (this.#state === "headers" && line !== "") this.#readHeader(line);
    else if (this.#state === "headers") this.#endHead();
    else if (this.#state === "chunk-size") this.#readChunkSize(line);
    else if (this.#state === "chunk-end" && line === "") this.#state = "chunk-size";
    else if (this.#state === "chunk-end") throw notUnderstood("a chunk longer than it said");
    else if (line === "") this.#state = "done";
    else this.#readHeader(line);
    // A long body has any number of chunks.
    if (this.#state === "chunk-size" || this.#state === "length") this.#headBytes = 0;
  }

  #readStatus(line: string): void {
    const status = STATUS_LINE.exec(line)?.[1];
    if (status === undefined) throw notUnderstood("what is not HTTP/1.1");
    this.#status = Number(status);
    this.#state = "headers";
  }

  #readHeader(line: string): void {
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon));
    if (!HEADER_NAME.test(name)) throw notUnderstood("a malformed header");
    this.#headerCount += 1;
    if (this.#headerCount > HTTP_HEADERS_MAX) throw notUnderstood(`more than ${HTTP_HEADERS_MAX} headers`);
    if (this.#state === "trailers") return;
    const key = name.toLowerCase();
    const value = withoutSpace(line.slice(colon + 1));
    const before = this.#headers.get(key);
    this.#headers.set(key, before === undefined ? value : `${before}, ${value}`);
  }

  #endHead(): void {
    const [status, headers] = [this.#status, this.#headers];
    this.#headers = new Map();
    if (status === 101) throw notUnderstood("a change of protocol that was not asked for");
    if (status < 200) {
      this.#state = "status";
      return;
    }
    this.#frame(status, headers);
    this.#sink.head({ status, headers });
  }

  /** How the body ends (RFC 9112, section 6.3). */
  #frame(status: number, headers: ReadonlyMap<string, string>): void {
    const length = headers.get("content-length");
    const coding = headers.get("transfer-encoding");
    if (coding !== undefined && coding.toLowerCase() !== "chunked")
      throw notUnderstood("a transfer coding other than chunked");
    if (coding !== undefined && length !== undefined) throw notUnderstood("two lengths of one body");
    if (length !== undefined && !/^\d{1,15}$/.test(length)) throw notUnderstood("a malformed content-length");
    this.#chunked = coding !== undefined;
    this.#left = length === undefined ? Infinity : Number(length);
    const isEmpty = status === 204 || status === 304 || this.#left === 0;
    if (isEmpty) this.#state = "done";
    else if (this.#chunked) this.#state = "chunk-size";
    else this.#state = length === undefined ? "close" : "length";
  }

  #readChunkSize(line: string): void {
    const size = CHUNK_LINE.exec(line)?.[1];
    if (size === undefined) throw notUnderstood("a malformed chunk");
    this.#left = Number.parseInt(size, 16);
    this.#state = this.#left === 0 ? "trailers" : "length";
  }
}

/** A line without its CRLF. @throws DataStreamError where it ends otherwise, or holds control characters. */
function text(line: Uint8Array): string {
  const end = line.byteLength - 2;
  if (line[end] !== CR) throw notUnderstood("a line that ends without CRLF");
  let characters = "";
  for (let i = 0; i < end; i++) {
    const byte = line[i] as number;
    if ((byte < 32 && byte !== TAB) || byte === 127) throw notUnderstood("control characters in a header");
    characters += String.fromCharCode(byte);
  }
  return characters;
}

/** Without blanks and tabs at both ends; a pattern would take quadratic time for many of them. */
function withoutSpace(value: string): string {
  let [start, end] = [0, value.length];
  while (start < end && isSpace(value.charCodeAt(start))) start++;
  while (end > start && isSpace(value.charCodeAt(end - 1))) end--;
  return value.slice(start, end);
}

function isSpace(code: number): boolean {
  return code === 32 || code === TAB;
}

function notUnderstood(what: string): DataStreamError {
  return new DataStreamError("unavailable", `The gateway's answer cannot be read: it holds ${what}.`);
}

import Table from "cli-table3";
import prettyBytes from "pretty-bytes";
import { DataStreamError } from "../core/errors.ts";

/** Prints a result for people, or as JSON for programs: one object on stdout, nothing else. */
export class Output {
  readonly json: boolean;

  constructor(json: boolean) {
    this.json = json;
  }

  /** The one result of a command. `text` is only called when people read it. */
  result(value: unknown, text: () => string): void {
    process.stdout.write(this.json ? `${JSON.stringify(value)}\n` : `${text()}\n`);
  }

  /** The one result of a command that lists: for programs an object with the items under `name`, for people a table. */
  async list<T>(
    name: string,
    items: AsyncIterable<T> | Iterable<T>,
    head: readonly string[],
    row: (item: T) => readonly (string | number)[],
  ): Promise<void> {
    const found: T[] = [];
    for await (const item of items) found.push(item);
    this.result({ [name]: found }, () => table(head, found.map(row)));
  }

  /** Like `list`, for lists of any length: each item is printed as it comes. */
  async longList<T>(name: string, items: AsyncIterable<T>, line: (item: T) => string): Promise<void> {
    let before = `{${JSON.stringify(name)}:[`;
    const opening = before;
    for await (const item of items) {
      process.stdout.write(this.json ? before + JSON.stringify(item) : `${line(item)}\n`);
      before = ",";
    }
    if (this.json) process.stdout.write(`${before === opening ? opening : ""}]}\n`);
  }

  /** A line for people while work goes on. */
  note(line: string): void {
    if (!this.json) process.stdout.write(`${line}\n`);
  }
}

/** An error as `error: …` or, for programs, as JSON on stderr. Never shows a cause: it may hold anything. */
export function printError(thrown: unknown, json: boolean): void {
  const error = systemError(thrown) ?? DataStreamError.from(thrown);
  if (json)
    process.stderr.write(
      `${JSON.stringify({ error: { code: error.code, message: error.message, ...error.details } })}\n`,
    );
  else process.stderr.write(`error: ${error.message}\n`);
  if (error.code === "internal" && process.env["CYXCLOUD_DEBUG"] !== undefined) console.error(error.cause);
}

/** What this computer's files and folders refused, in the system's own words, which name the path. */
function systemError(thrown: unknown): DataStreamError | undefined {
  const isSystems = thrown instanceof Error && "syscall" in thrown && "path" in thrown;
  return isSystems ? new DataStreamError("failed_precondition", thrown.message) : undefined;
}

export function bytes(count: number): string {
  return prettyBytes(count, { maximumFractionDigits: 1 });
}

/** Sizes that are powers of two by nature, such as a chunk's. */
export function binaryBytes(count: number): string {
  return prettyBytes(count, { binary: true, maximumFractionDigits: 1 });
}

export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const plain = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true, "padding-left": 0, "padding-right": 2 },
    chars: Object.fromEntries(BORDERS.map((border) => [border, ""])) as Record<
      (typeof BORDERS)[number],
      string
    >,
  });
  for (const row of rows) plain.push(row.map(String));
  return plain.toString().replaceAll(/ +$/gm, "");
}

const BORDERS = [
  "top",
  "top-mid",
  "top-left",
  "top-right",
  "bottom",
  "bottom-mid",
  "bottom-left",
  "bottom-right",
  "left",
  "left-mid",
  "mid",
  "mid-mid",
  "right",
  "right-mid",
  "middle",
] as const;

/** A title and indented fields. */
export function fields(title: string, values: Record<string, string | number | undefined>): string {
  const lines = Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `  ${name}: ${value}`);
  return [title, ...lines].join("\n");
}

/** First digits of a hash, enough to tell two apart. */
export function shortHash(hash: string): string {
  return `${hash.slice(0, 8)}…`;
}

/** `2026-01-04 12:00:00 UTC` */
export function time(iso: string): string {
  return `${iso.slice(0, 19).replace("T", " ")} UTC`;
}

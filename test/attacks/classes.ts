/** Attacks as data: each class holds ways to break one rule, and the request that keeps it. */
import type { Answer } from "./send.ts";

export interface Attack {
  readonly what: string;
  readonly attempt: () => Promise<Answer>;
  /** The unmutated request, where it differs from that of the class. */
  readonly sound?: () => Promise<Answer>;
  /** The code that the refusal must have, where it differs from that of the class. */
  readonly code?: string;
}

export interface AttackClass {
  readonly name: string;
  /** The code that every refusal must have. */
  readonly code: string;
  /** The unmutated request. It can be sent again and again. */
  readonly sound?: () => Promise<Answer>;
  readonly attacks: readonly Attack[];
}

/** Attacks that differ in one value. */
export function varied<T>(
  values: Readonly<Record<string, T>>,
  attempt: (value: T) => Promise<Answer>,
): Attack[] {
  return Object.entries(values).map(([what, value]) => ({ what, attempt: () => attempt(value) }));
}

/** The same, named by the values. */
export function listed<T>(
  name: string,
  values: readonly T[],
  attempt: (value: T) => Promise<Answer>,
): Attack[] {
  return values.map((value) => ({
    what: `${name}: ${value === undefined ? "absent" : shortened(JSON.stringify(value))}`,
    attempt: () => attempt(value),
  }));
}

function shortened(text: string): string {
  return text.length > 80 ? `${text.slice(0, 60)}… (${text.length} characters)` : text;
}

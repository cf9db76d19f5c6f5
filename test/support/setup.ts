/** Runs before each test file. */
import { expect } from "vitest";

// To toMatchObject a RegExp is an object without members, which everything matches.
expect.addEqualityTesters([
  (actual, expected) => {
    if (!(expected instanceof RegExp) || actual instanceof RegExp) return undefined;
    throw new Error(`A RegExp compares nothing here: use expect.stringMatching(${String(expected)}).`);
  },
]);

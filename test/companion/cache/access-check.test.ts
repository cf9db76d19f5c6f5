import { beforeEach, describe, expect, test } from "vitest";
import type { Clock } from "../../../client/backoff.ts";
import type { SourceContext } from "../../../client/stream/source.ts";
import { AccessCheck } from "../../../companion/cache/access-check.ts";
import { DataStreamError, type ErrorCode } from "../../../core/errors.ts";
import { ACCESS_CHECK_MS, ACCESS_PATIENCE_MS } from "../../../core/limits.ts";

const context = { signal: new AbortController().signal } as SourceContext;

/** Questions that wait for the test's answers, and time that passes when it says so. */
let questions: PromiseWithResolvers<void>[];
let signals: AbortSignal[];
let now: number;
let sleepers: { readonly until: number; readonly wake: () => void }[];
let check: AccessCheck;
beforeEach(() => {
  [questions, signals, sleepers, now] = [[], [], [], 0];
  const clock: Clock = {
    now: () => now,
    sleep: (ms) => new Promise((wake) => sleepers.push({ until: now + ms, wake })),
  };
  check = new AccessCheck((_, signal) => {
    const question = Promise.withResolvers<void>();
    questions.push(question);
    signals.push(signal);
    return question.promise;
  }, clock);
});

function pass(ms: number): void {
  now += ms;
  for (const { until, wake } of sleepers) if (until <= now) wake();
}

const refusal = (code: ErrorCode): DataStreamError => new DataStreamError(code, "No.");

describe("the beginning of an epoch", () => {
  test("waits for the gateway, once", async () => {
    const first = check.require("0", context);
    let isOver = false;
    void first.then(() => (isOver = true));
    await new Promise(setImmediate);
    expect(isOver).toBe(false);
    questions[0]?.resolve();
    await first;
    await check.require("0", context);
    expect(questions).toHaveLength(1);
    const second = check.require("1", context);
    questions[1]?.resolve();
    await second;
  });

  test.each<ErrorCode>(["unauthenticated", "permission_denied", "not_found"])(
    "does not come when it answers %s",
    async (code) => {
      const first = check.require("0", context);
      questions[0]?.reject(refusal(code));
      await expect(first).rejects.toMatchObject({ code });
      await expect(check.require("0", context)).rejects.toMatchObject({ code });
    },
  );

  test.each<ErrorCode>(["unavailable", "resource_exhausted", "internal"])(
    "comes when it cannot be asked (%s)",
    async (code) => {
      const first = check.require("0", context);
      questions[0]?.reject(refusal(code));
      await first;
      await check.require("0", context);
      expect(questions).toHaveLength(1);
    },
  );

  test("comes when it does not answer in time, and the question is given up", async () => {
    const first = check.require("0", context);
    pass(ACCESS_PATIENCE_MS);
    await first;
    expect(signals[0]?.aborted).toBe(true);
    await check.require("0", context);
  });

  test("needs no question where the gateway sent its first batches", async () => {
    check.granted("0");
    await check.require("0", context);
    expect(questions).toEqual([]);
  });
});

test("in a long epoch it is asked again and again, and nothing waits", async () => {
  check.granted("0");
  for (const asked of [1, 2]) {
    pass(ACCESS_CHECK_MS - 1);
    await check.require("0", context);
    expect(questions).toHaveLength(asked - 1);
    pass(1);
    await check.require("0", context);
    await check.require("0", context);
    expect(questions).toHaveLength(asked);
  }
  questions[0]?.resolve();
  questions[1]?.reject(refusal("unauthenticated"));
  await new Promise(setImmediate);
  await expect(check.require("0", context)).rejects.toMatchObject({ code: "unauthenticated" });
});

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Attempts, type Clock, type RetryPolicy, retryDelayMs, retrying } from "../../client/backoff.ts";
import { DataStreamClient } from "../../client/client.ts";
import { DataStreamError } from "../../core/errors.ts";

const NO_WAIT = { attempts: 4, firstDelayMs: 0, maxDelayMs: 0 };

/** A client of a gateway that answers each request by its method and path. */
function clientOf(
  answer: (request: string, headers: Headers) => Response | Promise<Response>,
): DataStreamClient {
  return new DataStreamClient({
    gateway: "http://double.test",
    apiKey: "key",
    retry: NO_WAIT,
    fetch: async (input, init) =>
      answer(
        `${init?.method} ${new URL(input instanceof Request ? input.url : input).pathname}`,
        new Headers(init?.headers),
      ),
  });
}

function brokenOff(): Response {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('{"bu'));
      controller.error(new TypeError("terminated"));
    },
  });
  return new Response(body, { headers: { "content-type": "application/json" } });
}

test("deleting the newest version again after a lost answer deletes no other", async () => {
  const versions = ["id-3", "id-2", "id-1"];
  const client = clientOf((request) => {
    const [method, path] = request.split(" ") as [string, string];
    const reference = path.split("/").at(-1) as string;
    const id = reference === "words" ? versions[0] : versions.find((each) => each === reference);
    if (id === undefined) return Response.json({ code: "not_found", detail: "none" }, { status: 404 });
    if (method === "GET") return Response.json({ id });
    versions.splice(versions.indexOf(id), 1);
    throw new TypeError("connection reset");
  });
  await client.datasets.delete("words");
  expect(versions).toEqual(["id-2", "id-1"]);
});

test("an answer that breaks off is asked for again, and told for what it is", async () => {
  let calls = 0;
  const twice = clientOf(() =>
    ++calls < 3 ? brokenOff() : Response.json({ buckets: [], next_cursor: null }),
  );
  expect(await twice.objects.buckets()).toEqual([]);
  expect(calls).toBe(3);

  const always = clientOf(brokenOff);
  const error = await always.objects.buckets().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(DataStreamError);
  expect(error).toMatchObject({ code: "unavailable" });
});

test("what must not happen twice is tried again under one key", async () => {
  const keys: (string | null)[] = [];
  const client = clientOf((_request, headers) => {
    keys.push(headers.get("idempotency-key"));
    return brokenOff();
  });
  for (const call of [
    () => client.datasets.createToken("words"),
    () => client.datasets.create({ name: "words", files: ["a/**"], schema: {} }),
  ])
    await expect(call()).rejects.toMatchObject({ code: "unavailable" });
  const [first, second] = [keys[0], keys[4]];
  expect(keys).toEqual([first, first, first, first, second, second, second, second]);
  expect(first).toMatch(/^[0-9a-f-]{36}$/);
  expect(second).not.toBe(first);
});

test("while the first try still runs, the next one waits for its answer", async () => {
  const problem = { code: "aborted", detail: "the first request with it still runs" };
  let calls = 0;
  const client = clientOf(() =>
    ++calls < 3
      ? Response.json({ ...problem, field: "Idempotency-Key" }, { status: 409 })
      : Response.json({ id: "token" }),
  );
  expect(await client.datasets.createToken("words")).toEqual({ id: "token" });
  const other = clientOf(() => Response.json(problem, { status: 409 }));
  await expect(other.datasets.createToken("words")).rejects.toMatchObject({ code: "aborted" });
});

test("what may happen twice carries no key, nor does what reads", async () => {
  const keys: (string | null)[] = [];
  const client = clientOf((_request, headers) => {
    keys.push(headers.get("idempotency-key"));
    return Response.json({ deleted: 1, users: [] });
  });
  await client.objects.delete("a", ["b"]);
  for await (const _ of client.users.list());
  expect(keys).toEqual([null, null]);
});

/** Time that passes only while somebody sleeps. */
function fakeClock(): Clock & { slept: number[] } {
  let time = 0;
  const slept: number[] = [];
  return {
    slept,
    now: () => time,
    sleep: (ms) => {
      slept.push(ms);
      time += ms;
      return Promise.resolve();
    },
  };
}

test("patience outlasts the attempts, and ends", async () => {
  const clock = fakeClock();
  const gone = new DataStreamError("unavailable", "gone");
  const policy = { attempts: 3, firstDelayMs: 200, maxDelayMs: 5_000, patienceMs: 30_000, clock };
  await expect(retrying(() => Promise.reject(gone), policy)).rejects.toBe(gone);
  expect(clock.now()).toBeGreaterThanOrEqual(30_000);
  expect(clock.now()).toBeLessThan(35_000);
  expect(Math.max(...clock.slept)).toBeLessThanOrEqual(5_000);
});

test("progress starts patience anew; what cannot pass is not waited for", async () => {
  const clock = fakeClock();
  const gone = new DataStreamError("unavailable", "gone");
  const attempts = new Attempts({
    attempts: 1,
    firstDelayMs: 1_000,
    maxDelayMs: 1_000,
    patienceMs: 500,
    clock,
  });
  for (let round = 0; round < 20; round++) {
    await attempts.after(gone, true);
    attempts.progress();
  }
  const before = clock.slept.length;
  await expect(attempts.after(gone, false)).rejects.toBe(gone);
  expect(clock.slept.length).toBe(before);
});

describe("the time that a gateway asks to wait", () => {
  beforeEach(() => void vi.useFakeTimers({ now: Date.parse("2026-11-22T12:00:00Z") }));
  afterEach(() => void vi.useRealTimers());

  test.each<[number, string | undefined, number]>([
    [429, "7", 7_000],
    [503, "7", 7_000],
    [503, "Sun, 22 Nov 2026 12:00:20 GMT", 20_000],
    [503, "Sun, 22 Nov 2026 11:00:00 GMT", 0],
    [429, "86400", 60_000],
    [429, "soon", 0],
    [429, "-5", 0],
    [503, undefined, 0],
  ])("of a %i with %j is waited for, up to a minute", async (status, header, waitMs) => {
    const calledAt: number[] = [];
    const began = Date.now();
    const client = clientOf(() => {
      calledAt.push(Date.now() - began);
      if (calledAt.length > 1) return Response.json({ buckets: [], next_cursor: null });
      return new Response("busy", { status, headers: header === undefined ? {} : { "retry-after": header } });
    });
    const answer = client.objects.buckets();
    await vi.advanceTimersByTimeAsync(waitMs);
    expect(await answer).toEqual([]);
    expect(calledAt).toEqual([0, waitMs]);
  });

  test("is told where nobody tries again", async () => {
    const client = clientOf(() => new Response("busy", { status: 429, headers: { "retry-after": "9" } }));
    const failed = client.objects.buckets().catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(27_000);
    expect(await failed).toMatchObject({ code: "resource_exhausted", details: { retry_after_seconds: 9 } });
  });

  test("comes before the own delay, which spreads those that were sent away together", () => {
    const policy: RetryPolicy = { attempts: 3, firstDelayMs: 100, maxDelayMs: 150, maxRetryAfterMs: 3_000 };
    const error = (seconds?: number): DataStreamError =>
      new DataStreamError("unavailable", "", {
        details: seconds === undefined ? {} : { retry_after_seconds: seconds },
      });
    expect(retryDelayMs(policy, 0, error(), () => 0.5)).toBe(50);
    expect(retryDelayMs(policy, 1, error(), () => 1)).toBe(150);
    expect(retryDelayMs(policy, 0, error(2), () => 0.5)).toBe(2_050);
    expect(retryDelayMs(policy, 0, error(4), () => 0.5)).toBe(3_050);
  });
});

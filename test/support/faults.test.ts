import { expect, test } from "vitest";
import type { ShardStore } from "../../core/ports.ts";
import { CrashError, type Fault, FaultHarness } from "./faults.ts";

/** A store that only remembers which puts took effect. */
function recordingStore(applied: string[]): ShardStore {
  return {
    put: async (key) => (applied.push(key), "created"),
    read: async () => undefined,
    size: async () => undefined,
    delete: async () => {},
    list: async () => [],
  };
}
const body = new Uint8Array(10);

test.each<[fault: Fault, second: string, applied: string[], third: string]>([
  ["fail", "DataStreamError", ["a", "c", "d"], "created"],
  ["lose-answer", "DataStreamError", ["a", "b", "c", "d"], "created"],
  ["crash", "CrashError", ["a", "d"], "CrashError"],
  ["crash-after", "CrashError", ["a", "b", "d"], "CrashError"],
])("%s at the second call: %s, applied %j", async (fault, second, applied, third) => {
  const puts: string[] = [];
  const harness = new FaultHarness();
  const store = harness.wrapStore(recordingStore(puts), "node-1");
  harness.plan = ({ number }) => (number === 2 ? fault : undefined);

  const outcomes: string[] = [];
  for (const key of ["a", "b", "c"]) {
    outcomes.push(await store.put(key, body).catch((error: Error) => error.name));
  }
  harness.revive();
  outcomes.push(await store.put("d", body));

  expect(outcomes).toEqual(["created", second, third, "created"]);
  expect(puts).toEqual(applied);
});

test("a call that is open when the process dies never returns to it", async () => {
  const harness = new FaultHarness();
  const store = harness.wrapStore(recordingStore([]), "node-1");
  const gate = Promise.withResolvers<undefined>();
  harness.plan = ({ number }) => (number === 1 ? gate.promise : "crash");
  const open = store.put("a", body);
  await expect(store.put("b", body)).rejects.toThrow(CrashError);
  gate.resolve(undefined);
  await expect(open).rejects.toThrow(CrashError);
});

test("the seventh open call is a violation", async () => {
  const harness = new FaultHarness();
  const store = harness.wrapStore(recordingStore([]), "node-1");
  const gate = Promise.withResolvers<undefined>();
  harness.plan = () => gate.promise;
  const open = Array.from({ length: 6 }, (_, index) => store.put(`${index}`, body));
  await expect(store.put("7", body)).rejects.toThrow("openCalls: 7 is above 6");
  gate.resolve(undefined);
  await Promise.all(open);
  expect(harness.peak).toEqual({ openCalls: 7, bytesInFlight: 70, bodyBytes: 10 });
  expect(harness.violations).toHaveLength(1);
});

test.each([
  [{ bodyBytes: 9 }, "bodyBytes: 10 is above 9 at call 1"],
  [{ bytesInFlight: 9 }, "bytesInFlight: 10 is above 9 at call 1"],
  [{ calls: 0 }, "calls: 1 is above 0 at call 1"],
])("limits %o", async (limits, message) => {
  const harness = new FaultHarness(limits);
  await expect(harness.wrapStore(recordingStore([]), "node-1").put("a", body)).rejects.toThrow(message);
  expect(harness.violations).toEqual([expect.stringContaining(message)]);
});

test("statements are counted by what they carry", async () => {
  const harness = new FaultHarness();
  const sql = harness.wrapSql({ query: async () => [], transaction: async () => [] });
  await sql.query({ text: "select $1", values: [new Uint8Array(4)] });
  await sql.transaction([
    { text: "a", values: [] },
    { text: "b", values: [["xy", null]] },
  ]);
  expect(harness.calls).toEqual([
    { number: 1, backend: "sql", method: "query", subject: "select $1", bytes: 17 },
    { number: 2, backend: "sql", method: "transaction", subject: "a;\nb", bytes: 8 },
  ]);
});

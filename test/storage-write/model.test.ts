import fc from "fast-check";
import { packTar } from "modern-tar";
import { afterAll, expect, test } from "vitest";
import { ensureBucket } from "../../catalog/buckets.ts";
import { dropObjects } from "../../catalog/objects.ts";
import type { Sql } from "../../core/ports.ts";
import { collectGarbage } from "../../storage/collect-garbage.ts";
import { type Fault, FaultInjector } from "./faults.ts";
import {
  type Bench,
  collectAll,
  createBench,
  cut,
  expectNoOrphans,
  GRACE,
  HOUR,
  patterned,
  readAll,
  upload,
} from "./fixture.ts";

const PART = 4096;
const base = await createBench({ chunkBytes: 4096 });
afterAll(() => base.close());

type Model = Map<string, Uint8Array>;
type Deps = ReturnType<Bench["deps"]> & { readonly sql: Sql };

interface Step {
  readonly fault: Fault | undefined;
  readonly action: Action;
}
type Action =
  | { readonly kind: "put"; readonly key: number; readonly size: number; readonly seed: number }
  | { readonly kind: "tar"; readonly sizes: readonly number[]; readonly seed: number }
  | { readonly kind: "delete"; readonly keys: readonly number[] }
  | { readonly kind: "collect"; readonly hours: number };

const keys = fc.nat(5);
const sizes = fc.oneof(fc.nat(3 * PART), fc.constantFrom(0, 1, PART - 1, PART, PART + 1, 2 * PART));
const anyAction: fc.Arbitrary<Action> = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), key: keys, size: sizes, seed: fc.nat() }),
  fc.record({ kind: fc.constant("tar" as const), sizes: fc.array(sizes, { maxLength: 6 }), seed: fc.nat() }),
  fc.record({ kind: fc.constant("delete" as const), keys: fc.array(keys, { minLength: 1, maxLength: 3 }) }),
  fc.record({ kind: fc.constant("collect" as const), hours: fc.nat(60) }),
);
const anyFault: fc.Arbitrary<Fault> = fc.record({
  call: fc.nat(40),
  kind: fc.constantFrom("crash", "lost"),
  when: fc.constantFrom("before", "after"),
});
const history = fc.array(fc.record({ action: anyAction, fault: fc.option(anyFault, { nil: undefined }) }), {
  minLength: 1,
  maxLength: 10,
});

/** What the action makes of the model when it succeeds. */
function expected(model: Model, action: Action): Model {
  const next = new Map(model);
  if (action.kind === "put") next.set(`f${action.key}`, patterned(action.size, action.seed));
  if (action.kind === "tar")
    action.sizes.forEach((size, i) => next.set(`f${i}`, patterned(size, action.seed + i)));
  if (action.kind === "delete") for (const key of action.keys) next.delete(`f${key}`);
  return next;
}

async function perform(bench: Bench, deps: Deps, action: Action): Promise<unknown> {
  switch (action.kind) {
    case "put":
      return upload(
        bench,
        deps,
        { kind: "object", key: `f${action.key}`, partBytes: PART },
        cut(patterned(action.size, action.seed), PART),
      );
    case "tar": {
      const files = action.sizes.map((size, i) => ({
        header: { name: `f${i}`, size },
        body: patterned(size, action.seed + i),
      }));
      return upload(bench, deps, { kind: "tar", key: "" }, [
        await packTar(files.slice(0, 3)),
        await packTar(files.slice(3)),
      ]);
    }
    case "delete":
      return dropObjects(
        deps.sql,
        bench.bucketId,
        action.keys.map((key) => `f${key}`),
      );
    case "collect":
      bench.clock.time += action.hours * HOUR;
      return collectGarbage(deps, { now: bench.clock.time, graceMs: GRACE });
  }
}

async function run(steps: readonly Step[], bucket: string): Promise<void> {
  const geometry = { chunkBytes: 4096, dataShards: 4, parityShards: 2 };
  const created = await ensureBucket(base.sql, { ownerId: base.ownerId, name: bucket, ...geometry });
  const bench: Bench = { ...base, bucketId: created.bucket.id };
  let model: Model = new Map();
  for (const { action, fault } of steps) {
    const overrides = new FaultInjector(fault).overrides(bench.sql);
    const deps: Deps = { ...bench.deps(overrides), sql: overrides.sql as Sql };
    const next = expected(model, action);
    const acknowledged = await perform(bench, deps, action).then(
      () => true,
      (error: unknown) => {
        expect(error).toMatchObject({ code: "unavailable" });
        return false;
      },
    );
    const visible = await readAll(bench);
    if (!acknowledged && same(visible, model)) continue;
    expect(sorted(visible)).toEqual(sorted(next));
    model = next;
  }
  await collectAll(bench);
  await expectNoOrphans(bench);
  expect(sorted(await readAll(bench))).toEqual(sorted(model));
}

const sorted = (model: Model): [string, Uint8Array][] => [...model].toSorted(([a], [b]) => (a < b ? -1 : 1));
const same = (a: Model, b: Model): boolean =>
  a.size === b.size &&
  [...a].every(([key, bytes]) => Buffer.from(bytes).equals(b.get(key) ?? patterned(bytes.length + 1)));

test("any history of uploads, deletes, garbage collection and faults leaves what a map would hold", async () => {
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(history, (steps) => run(steps, `run-${++runs}`)),
    { numRuns: 40 },
  );
});

import { packTar } from "modern-tar";
import { afterAll, describe, expect, test } from "vitest";
import { dropObjects } from "../../catalog/objects.ts";
import { completeUpload } from "../../storage/uploads/complete.ts";
import type { UploadDeps } from "../../storage/uploads/deps.ts";
import { createUpload, describeUpload } from "../../storage/uploads/sessions.ts";
import { collectGarbage } from "../../storage/collect-garbage.ts";
import { everyFault, type Fault, FaultInjector } from "./faults.ts";
import {
  type Bench,
  collectAll,
  createBench,
  cut,
  expectNoOrphans,
  patterned,
  putWhole,
  readAll,
  upload,
} from "./fixture.ts";

const PART = 8192;

interface Operation {
  /** What is visible before, key → bytes. */
  prepare(bench: Bench): Promise<Map<string, Uint8Array>>;
  /** What is visible once it was acknowledged. */
  readonly result: Map<string, Uint8Array>;
  run(bench: Bench, deps: UploadDeps): Promise<void>;
  /** What a client does that got no answer; with dependencies that work. */
  retry(bench: Bench, deps: UploadDeps): Promise<void>;
}

function uploading(
  kind: "object" | "tar",
  key: string,
  bodies: Uint8Array[],
): Pick<Operation, "run" | "retry"> {
  let uploadId: string | undefined;
  const send = async (bench: Bench, deps: UploadDeps): Promise<void> => {
    const id = (uploadId ??= (
      await createUpload(deps, { bucketId: bench.bucketId, kind, key, partBytes: PART })
    ).id);
    const { upload: found, parts } = await describeUpload(deps, id, bench.ownerId);
    if (found.state === "open") {
      for (const [i, body] of bodies.entries())
        if (!parts.some(({ partNumber }) => partNumber === i + 1))
          await putWhole(bench, deps, id, i + 1, body);
    }
    await completeUpload(deps, { uploadId: id, ownerId: bench.ownerId, parts: bodies.length });
  };
  return {
    run: (bench, deps) => {
      uploadId = undefined;
      return send(bench, deps);
    },
    retry: send,
  };
}

const before = new Map([
  ["kept", patterned(100, 1)],
  ["k", patterned(PART + 5, 2)],
]);
async function prepare(bench: Bench): Promise<Map<string, Uint8Array>> {
  for (const [key, bytes] of before)
    await upload(bench, bench.deps(), { kind: "object", key, partBytes: PART }, cut(bytes, PART));
  return before;
}

const replacement = patterned(PART + 100, 3);
const files: [string, Uint8Array][] = Array.from({ length: 6 }, (_, i) => [`f${i}`, patterned(500 * i, i)]);
const tars = await Promise.all(
  [files.slice(0, 4), [...files.slice(4), [...before][1] as [string, Uint8Array]]].map((list) =>
    packTar(list.map(([name, body]) => ({ header: { name, size: body.length }, body }))),
  ),
);

const operations: Record<string, Operation> = {
  "an overwrite in two parts": {
    prepare,
    result: new Map([...before, ["k", replacement]]),
    ...uploading("object", "k", cut(replacement, PART)),
  },
  "a folder in two tars": {
    prepare,
    result: new Map([...before, ...files]),
    ...uploading("tar", "", tars),
  },
  "a delete": {
    prepare,
    result: new Map([["kept", before.get("kept") as Uint8Array]]),
    run: async (bench, deps) => void (await dropObjects((deps as SqlDeps).sql, bench.bucketId, ["k"])),
    retry: async (bench) => void (await dropObjects(bench.sql, bench.bucketId, ["k"])),
  },
};
type SqlDeps = UploadDeps & { readonly sql: Bench["sql"] };

describe.each(Object.entries(operations))("%s", (_, operation) => {
  test("with a fault at any call is acknowledged and whole, or whole or absent, and can be repeated", async () => {
    const bench = await createBench({ chunkBytes: 4096 });
    const old = await operation.prepare(bench);
    const count = new FaultInjector();
    await operation.run(bench, withSql(bench, count));
    expect(await readAll(bench)).toEqual(operation.result);

    const faults = everyFault(count.calls);
    expect(faults.length).toBeGreaterThanOrEqual(4);
    for (const fault of faults) {
      await dropObjects(bench.sql, bench.bucketId, [...operation.result.keys()]);
      await operation.prepare(bench);
      const acknowledged = await attempt(bench, operation, fault);
      const visible = await readAll(bench);
      if (acknowledged || visible.size !== old.size || differs(visible, old))
        expect(visible, nameOf(fault)).toEqual(operation.result);
      await operation.retry(bench, bench.deps());
      expect(await readAll(bench), nameOf(fault)).toEqual(operation.result);
    }
    await collectAll(bench);
    await expectNoOrphans(bench);
    expect(await readAll(bench)).toEqual(operation.result);
    await bench.close();
  });
});

test("garbage collection with a fault at any call loses nothing, and the next one leaves no orphan", async () => {
  const bench = await createBench({ chunkBytes: 4096 });
  afterAll(() => bench.close());
  const litter = async (): Promise<void> => {
    const overwrite = operations["an overwrite in two parts"] as Operation;
    await prepare(bench);
    for (const call of [4, 15]) await attempt(bench, overwrite, { call, kind: "crash", when: "after" });
    await upload(bench, bench.deps(), { kind: "object", key: "k" }, [patterned(10)]);
  };
  const collect = (deps: ReturnType<Bench["deps"]>): Promise<unknown> =>
    collectGarbage(deps, { now: (bench.clock.time += 30 * 3_600_000) });
  await litter();
  const count = new FaultInjector();
  for (let round = 0; round < 3; round++) await collect(bench.deps(count.overrides(bench.sql)));
  await expectNoOrphans(bench);

  const expected = await readAll(bench);
  for (const fault of everyFault(count.calls)) {
    await litter();
    const injector = new FaultInjector(fault);
    for (let round = 0; round < 3; round++)
      await collect(bench.deps(injector.overrides(bench.sql))).catch(() => undefined);
    expect(await readAll(bench), nameOf(fault)).toEqual(expected);
    await collectAll(bench);
    await expectNoOrphans(bench);
  }
});

async function attempt(bench: Bench, operation: Operation, fault: Fault): Promise<boolean> {
  try {
    await operation.run(bench, withSql(bench, new FaultInjector(fault)));
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: "unavailable" });
    return false;
  }
}

function withSql(bench: Bench, injector: FaultInjector): SqlDeps {
  const overrides = injector.overrides(bench.sql);
  return { ...bench.deps(overrides), sql: overrides.sql as Bench["sql"] };
}

function differs(visible: Map<string, Uint8Array>, old: Map<string, Uint8Array>): boolean {
  return [...old].some(([key, bytes]) => !Buffer.from(visible.get(key) ?? []).equals(bytes));
}

function nameOf({ call, kind, when }: Fault): string {
  return `${kind} ${when} call ${call}`;
}

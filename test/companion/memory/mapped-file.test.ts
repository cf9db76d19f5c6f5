import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { hostBackend } from "../../../companion/device/host.ts";
import { sharedBackend } from "../../../companion/device/shared.ts";
import { sweep } from "../../../companion/memory/file-names.ts";
import { createMappedFile, MEMORY_FOLDER } from "../../../companion/memory/mapped-file.ts";
import { viewOf } from "../../../companion/memory/reference.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-ring-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("what is written to the memory is in the file, which this user alone may open", async () => {
  const file = await createMappedFile(8192, "2 slots", folder);
  viewOf(file.memory).set([1, 2, 3], 4096);
  expect([...readFileSync(file.path).subarray(4095, 4100)]).toEqual([0, 1, 2, 3, 0]);
  expect(statSync(file.path).mode & 0o777).toBe(0o600);
  file.close();
  file.close();
  expect(readdirSync(folder)).toEqual([]);
});

test("without a name the memory stays", async () => {
  const file = await createMappedFile(4096, "1 slot", folder);
  file.unlink();
  expect(existsSync(file.path)).toBe(false);
  expect(viewOf(file.memory).fill(7)[4095]).toBe(7);
  file.close();
});

describe("memory that is not to be had", () => {
  test("is named with its size, what is free and what to do, and leaves nothing", async () => {
    const { blocks, bsize } = statfsSync(MEMORY_FOLDER);
    const before = readdirSync(MEMORY_FOLDER).filter((name) => name.includes(`-${process.pid}-`));
    const creating = createMappedFile(blocks * bsize + 4096, "4 slots of 1 TiB");
    await expect(creating).rejects.toMatchObject({
      code: "resource_exhausted",
      message: expect.stringMatching(
        /^4 slots of 1 TiB need .+ in \/dev\/shm, where .+ are free\. .*--shm-size=\d+m.*fewer slots/,
      ) as string,
      details: { field: "slots", path: "/dev/shm", needed: blocks * bsize + 4096 },
    });
    expect(readdirSync(MEMORY_FOLDER).filter((name) => name.includes(`-${process.pid}-`))).toEqual(before);
  });

  test("in a folder that is not there names the folder", async () => {
    await expect(createMappedFile(4096, "1 slot", join(folder, "missing"))).rejects.toMatchObject({
      code: "failed_precondition",
      message: expect.stringContaining("ENOENT") as string,
    });
  });
});

describe("a process that ends", () => {
  /** Creates a file, says its path, and waits. */
  async function holder(then = ""): Promise<{ child: ChildProcess; path: string }> {
    const script = `
      import { createMappedFile } from ${JSON.stringify(join(import.meta.dirname, "../../../companion/memory/mapped-file.ts"))};
      const file = await createMappedFile(4096, "1 slot", ${JSON.stringify(folder)});
      ${then}
      console.log(file.path);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    return { child, path: line.toString().trim() };
  }

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "by %s dies of it and leaves no file",
    async (signal) => {
      const { child, path } = await holder();
      expect(existsSync(path)).toBe(true);
      child.kill(signal);
      expect(await once(child, "exit")).toEqual([null, signal]);
      expect(existsSync(path)).toBe(false);
    },
  );

  test("after its own handling of the signal leaves no file either", async () => {
    const { child, path } = await holder(`process.on("SIGTERM", () => setImmediate(() => process.exit(3)));`);
    child.kill("SIGTERM");
    expect(await once(child, "exit")).toEqual([3, null]);
    expect(existsSync(path)).toBe(false);
  });

  test("by SIGKILL leaves a file, which the next process sweeps; files of the living and of others stay", async () => {
    const living = await holder();
    const killed = await holder();
    writeFileSync(join(folder, "cyxcloud-notes.txt"), "");
    // The same id in another PID namespace is another process.
    const foreign = killed.path.replace(/cyxcloud-\d+/, "cyxcloud-1");
    writeFileSync(foreign, "");
    // The same id, started at another time: ids are used again.
    const reused = living.path.replace(/-\d+(-[0-9a-f]{16}\.ring)$/, "-1$1");
    writeFileSync(reused, "");
    killed.child.kill("SIGKILL");
    await once(killed.child, "exit");
    expect([...sweep(folder)].toSorted()).toEqual(
      [killed.path, reused].map((path) => path.slice(folder.length + 1)).toSorted(),
    );
    expect(existsSync(living.path) && existsSync(foreign)).toBe(true);
    living.child.kill();
    await once(living.child, "exit");
    expect(readdirSync(folder).toSorted()).toEqual(
      [foreign.slice(folder.length + 1), "cyxcloud-notes.txt"].toSorted(),
    );
  });
});

describe("rings", () => {
  test("of a file are attached by path and size, and have no name once attached", async () => {
    const backend = sharedBackend("shm", folder);
    const ring = await backend.createRing({ slots: 3, slotBytes: 4096 });
    expect(ring.attachment?.size).toBe(3 * 4096);
    expect(ring.memory.byteLength).toBe(3 * 4096);
    await ring.publish(2, 4096);
    await ring.attached({});
    expect(readdirSync(folder)).toEqual([]);
    await ring.close();
    await ring.close();
    await backend.close();
  });

  test("of this process are shared with its threads", async () => {
    const ring = await hostBackend.createRing({ slots: 2, slotBytes: 8192 });
    expect(ring.attachment).toBeUndefined();
    expect(ring.memory).toMatchObject({ kind: "shared", byteLength: 16384 });
  });

  test.each([
    [{ slots: 0, slotBytes: 4096 }, "slots"],
    [{ slots: 65, slotBytes: 4096 }, "slots"],
    [{ slots: 4, slotBytes: 4095 }, "slotBytes"],
    [{ slots: 64, slotBytes: 2 ** 40 }, "fewer slots"],
  ])("of %j are refused", async (options, message) => {
    await expect(sharedBackend("shm", folder).createRing(options)).rejects.toThrow(message);
  });

  test("come and go 1,000 times without leaving a file, a mapping or a descriptor", async () => {
    const backend = sharedBackend("shm", folder);
    const count = (): number[] => [
      readdirSync(folder).length,
      readdirSync("/proc/self/fd").length,
      readFileSync("/proc/self/maps", "utf8").split("cyxcloud-").length,
    ];
    const before = count();
    for (let i = 0; i < 1000; i++) {
      const ring = await backend.createRing({ slots: 2, slotBytes: 4096 });
      viewOf(ring.memory)[0] = i;
      // Half of the consumers die before they attach.
      if (i % 2 === 0) await ring.attached({});
      await ring.close();
    }
    expect(count()).toEqual(before);
  });
});

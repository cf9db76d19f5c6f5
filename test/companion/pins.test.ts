import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkPin, type Pin } from "../../client/pins.ts";
import { FilePinStore } from "../../companion/pin-file.ts";
import { requireTool } from "../support/tools.ts";
import { Child } from "./faults/child.ts";

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-pins-"));
  file = join(folder, "below", "pins.json");
});
afterEach(() => rmSync(folder, { recursive: true }));

const pinOf = (version: number): Pin => ({
  datasetId: `dataset-${version}`,
  version,
  contentHash: "00".repeat(32),
  schemaHash: "11".repeat(32),
});
const pinned = (key: string): Promise<Pin | undefined> =>
  new FilePinStore(file).update((pins) => pins.get(key));

test("ranks of one process that begin at once keep each other's pins", async () => {
  const stores = [new FilePinStore(file), new FilePinStore(file)];
  await Promise.all(
    Array.from({ length: 40 }, (_, i) =>
      (stores[i % 2] as FilePinStore).update((pins) => pins.set(`key ${i}`, pinOf(i))),
    ),
  );
  for (let i = 0; i < 40; i++) expect(await pinned(`key ${i}`)).toEqual(pinOf(i));
  expect(await pinned("another")).toBeUndefined();
  expect(readdirSync(join(folder, "below")).toSorted()).toEqual(["pins.json", "pins.json.lock"]);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("a check that fails remembers nothing, and the next one goes on", async () => {
  const store = new FilePinStore(file);
  const check = (version: number, contentHash: string): Promise<boolean> =>
    checkPin(store, "gateway", "letters", false, {
      ...pinOf(0),
      datasetId: `v${version}`,
      version,
      contentHash,
    });
  expect(await check(2, "aa")).toBe(false);
  const [changed, older] = [check(2, "bb"), check(1, "aa")];
  await expect(changed).rejects.toThrow(/content hash/);
  await expect(older).rejects.toThrow(/version/);
  expect(await check(2, "aa")).toBe(true);
  expect(await check(3, "cc")).toBe(false);
  expect(await pinned("gateway v1")).toBeUndefined();
});

test.each(["", "[]", "{", "7"])("a file that holds %j is left as it is, and named", async (text) => {
  await pinned("any");
  writeFileSync(file, text);
  await expect(new FilePinStore(file).update((pins) => pins.set("key", pinOf(1)))).rejects.toMatchObject({
    code: "invalid_argument",
    message: expect.stringContaining(file) as string,
  });
});

describe("processes", () => {
  const WORKER = join(import.meta.dirname, "pins.worker.ts");
  const PYTHON = join(import.meta.dirname, "../../python");
  const COUNT = 30;

  const python3 = requireTool("python3");

  function pythonChild(python: string, name: string): Child {
    const script = `
import sys
from cyxcloud.direct.pins import Pin, PinFile
from cyxcloud.errors import VerificationError
store = PinFile(sys.argv[1])
for i in range(int(sys.argv[3])):
    key = f"{sys.argv[2]} {i}"
    store.check("gateway", key, False, Pin(key, 1, sys.argv[2], "11"))
try:
    store.check("gateway", "shared", False, Pin("shared", 1, sys.argv[2], "11"))
    print('{"won":true}')
except VerificationError:
    print('{"won":false}')`;
    const child = spawn(python, ["-c", script, file, name, `${COUNT}`], {
      cwd: PYTHON,
      stdio: ["ignore", "pipe", "pipe"],
    });
    return Child.of(child);
  }

  test("that write at once keep each other's pins, and of two truths one", async () => {
    const names = ["one", "two", "three"];
    const children = names.map((name) => Child.start(WORKER, [file, name, `${COUNT}`]));
    if (python3 !== undefined) {
      names.push("python");
      children.push(pythonChild(python3, "python"));
    }
    const winners: string[] = [];
    for (const [i, child] of children.entries()) {
      const [line] = await child.line(/^\{"won":(true|false)\}$/);
      if (line.includes("true")) winners.push(names[i] as string);
      expect(await child.end()).toEqual([0, null]);
    }
    expect(winners).toEqual([(await pinned("gateway shared"))?.contentHash]);
    for (const name of names)
      for (let i = 0; i < COUNT; i++)
        expect(await pinned(`gateway ${name} ${i}`)).toMatchObject({ contentHash: name });
  });

  test("that are killed while they hold the file leave no lock", async () => {
    const child: ChildProcess = spawn(process.execPath, [WORKER, file, "killed", "hold"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await once(child.stdout as NodeJS.ReadableStream, "data");
    const updated = new FilePinStore(file).update((pins) => pins.set("key", pinOf(1)));
    child.kill("SIGKILL");
    await updated;
    expect(await pinned("key")).toEqual(pinOf(1));
  });
});

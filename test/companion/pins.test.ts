import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Pin } from "../../client/pins.ts";
import { FilePinStore } from "../../companion/pin-file.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-pins-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const pinOf = (version: number): Pin => ({
  datasetId: `dataset-${version}`,
  version,
  contentHash: "00".repeat(32),
  schemaHash: "11".repeat(32),
});

test("ranks of one process that begin at once keep each other's pins", async () => {
  const file = join(folder, "below", "pins.json");
  const stores = [new FilePinStore(file), new FilePinStore(file)];
  await Promise.all(
    Array.from({ length: 40 }, (_, i) => (stores[i % 2] as FilePinStore).set(`key ${i}`, pinOf(i))),
  );
  const later = new FilePinStore(file);
  for (let i = 0; i < 40; i++) expect(await later.get(`key ${i}`)).toEqual(pinOf(i));
  expect(await later.get("another")).toBeUndefined();
  expect(readdirSync(join(folder, "below"))).toEqual(["pins.json"]);
});

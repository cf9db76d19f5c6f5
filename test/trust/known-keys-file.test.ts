import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readKnownKeys } from "../../companion/known-keys-file.ts";
import { keyPairOf } from "../../core/trust/ed25519.ts";
import { formatKnownKeys } from "../../core/trust/known-keys.ts";

const folder = mkdtempSync(join(tmpdir(), "cyxcloud-known-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("a known-keys file that is not there knows nobody, and a malformed one is told by name and line", () => {
  const file = join(folder, "known-keys");
  expect(readKnownKeys(file)).toEqual([]);
  const keys = [{ publicKey: keyPairOf(new Uint8Array(32).fill(61)).publicKey, name: "ada" }];
  writeFileSync(file, formatKnownKeys(keys));
  expect(readKnownKeys(file)).toEqual(keys);
  writeFileSync(file, `${formatKnownKeys(keys)}nonsense\n`);
  expect(() => readKnownKeys(file)).toThrow(`${file} line 2`);
});

import koffi from "koffi";
import { expect, test } from "vitest";
import { slotBytesFor } from "../../../companion/device/backend.ts";
import { subReference, subView, viewOf, type MemoryReference } from "../../../companion/memory/reference.ts";

const shared: MemoryReference = {
  kind: "shared",
  buffer: new SharedArrayBuffer(64),
  byteOffset: 16,
  byteLength: 32,
};
const allocated = koffi.alloc("uint8_t", 32) as bigint;
const address: MemoryReference = { kind: "address", address: allocated, byteLength: 32 };

test.each([
  ["shared", shared],
  ["mapped", address],
])("a part of %s memory is the same bytes as the whole", (_kind, whole) => {
  const part = subReference(whole, 8, 4);
  viewOf(whole).fill(0);
  viewOf(part).set([1, 2, 3, 4]);
  expect([...viewOf(whole).subarray(7, 13)]).toEqual([0, 1, 2, 3, 4, 0]);
  expect([...subView(whole, part)]).toEqual([1, 2, 3, 4]);
});

test("a view of mapped memory is made once, and again when it has not been asked for lately", () => {
  const first = viewOf(address);
  expect(viewOf(address)).toBe(first);
  for (let length = 1; length <= 65; length++) {
    viewOf({ kind: "address", address: allocated, byteLength: length === 32 ? 1 : length });
  }
  expect(viewOf(address)).not.toBe(first);
});

test.each([
  [-1, 4],
  [0, 33],
  [30, 4],
  [4, -1],
])("a part at %d of %d bytes that is not inside is refused", (offset, length) => {
  expect(() => subReference(shared, offset, length)).toThrow(RangeError);
  expect(() => subReference(address, offset, length)).toThrow(RangeError);
});

test("a part of other memory is refused", () => {
  const other: MemoryReference = { ...address, address: allocated - 4096n, byteLength: 16 };
  expect(() => subView(address, other)).toThrow("not memory of this ring");
  expect(() => subView(shared, address)).toThrow("not memory of this ring");
  expect(() => subView(shared, { ...shared, buffer: new SharedArrayBuffer(64) })).toThrow(RangeError);
});

test("a slot is whole pages, and whole allocations on a device", () => {
  expect(slotBytesFor("shm", 1)).toBe(4096);
  expect(slotBytesFor("host", 4097)).toBe(8192);
  expect(slotBytesFor("cuda-ipc", 1)).toBe(2 * 1024 * 1024);
  expect(slotBytesFor("cuda-hostreg", 2 * 1024 * 1024 + 1)).toBe(4 * 1024 * 1024);
});

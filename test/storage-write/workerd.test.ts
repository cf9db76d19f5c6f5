import { request } from "node:http";
import { packTar } from "modern-tar";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { patterned } from "./fixture.ts";

let gateway: TestGateway;
beforeAll(async () => {
  gateway = await startGateway();
  await send("PUT", "/api/buckets/data", { chunk_bytes: 4096 });
});
afterAll(() => gateway.stop());

async function send(method: string, path: string, body: unknown): Promise<Record<string, unknown>> {
  const headers = { "content-type": "application/json" };
  const response = await gateway.request(path, { method, headers, body: JSON.stringify(body) });
  return { status: response.status, ...((await response.json()) as object) };
}

async function uploadTar(
  prefix: string,
  ...parts: Uint8Array<ArrayBuffer>[]
): Promise<Record<string, unknown>> {
  const { upload_id: id } = (await send("POST", "/api/uploads", { bucket: "data", kind: "tar", prefix })) as {
    upload_id: string;
  };
  for (const [i, body] of parts.entries()) {
    const response = await gateway.request(`/api/uploads/${id}/parts/${i + 1}`, { method: "PUT", body });
    if (!response.ok) return { status: response.status, ...((await response.json()) as object) };
  }
  return send("POST", `/api/uploads/${id}/complete`, { parts: parts.length });
}

async function read(key: string): Promise<Uint8Array | number> {
  const response = await gateway.request(`/api/objects/data/${key}`);
  const body = await response.bytes();
  return response.ok ? body : response.status;
}

const entry = (name: string, body: Uint8Array): Parameters<typeof packTar>[0][number] => ({
  header: { name, size: body.length },
  body,
});

test("workerd packs tars with long names, empty, small and large files", async () => {
  const long = `${"d".repeat(150)}/${"n".repeat(180)}`;
  const files: [string, Uint8Array][] = [
    [long, patterned(10)],
    ["empty", new Uint8Array()],
    ["large", patterned(50_000)],
    ...Array.from({ length: 40 }, (_, i): [string, Uint8Array] => [`small/${i}`, patterned(i * 35, i)]),
  ];
  const tar = await packTar(files.map(([name, body]) => entry(name, body)));
  expect(await uploadTar("w/", tar)).toMatchObject({ status: 200, objects: 43 });
  for (const [name, body] of files) expect(await read(`w/${name}`), name).toEqual(body);
});

test("workerd refuses what is no whole tar, and keeps its memory", async () => {
  const tar = await packTar([entry("a", patterned(3000)), entry("b", patterned(3000))]);
  const bad = [
    patterned(3000),
    tar.slice(0, 600),
    tar.slice(0, 2000),
    tar.slice(0, 5000),
    tar.slice(0, -1000),
  ];
  for (const body of [...bad, ...bad, ...bad])
    expect(await uploadTar("bad/", body)).toMatchObject({
      status: 400,
      code: "invalid_argument",
      field: "body",
    });
  expect(await read("bad/a")).toBe(404);
  expect(await uploadTar("good/", tar)).toMatchObject({ status: 200, objects: 2 });
});

test("workerd gives the memory of cut uploads back, and nothing of them is visible", async () => {
  await send("PUT", "/api/buckets/large", {});
  const { upload_id: id, part_bytes: size } = (await send("POST", "/api/uploads", {
    bucket: "large",
    kind: "object",
    key: "cut",
  })) as { upload_id: string; part_bytes: number };
  const url = new URL(`/api/uploads/${id}/parts/1`, gateway.url);
  const headers = { authorization: `Bearer ${gateway.owner.apiKey}`, "content-length": size };
  // Each holds the memory of a chunk; all at once they would be too many.
  for (let i = 0; i < 4; i++) {
    await new Promise<void>((resolve) => {
      const cut = request(url, { method: "PUT", headers });
      cut.on("error", () => resolve());
      cut.write(patterned(100_000), () => cut.destroy(new Error("cut")));
    });
  }
  const whole = await gateway.request(url.pathname, { method: "PUT", body: patterned(size) });
  expect(whole.status).toBe(200);
  expect((await gateway.request("/api/objects/large/cut")).status).toBe(404);
  expect(await send("POST", `/api/uploads/${id}/complete`, { parts: 1 })).toMatchObject({
    status: 200,
    bytes: size,
  });
});

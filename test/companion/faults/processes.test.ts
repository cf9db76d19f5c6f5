/** Companions as processes: killed, told to stop, and more than one at a time. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { StreamRequest } from "../../../companion/handoff/messages.ts";
import { loadKernels } from "../../../kernels/index.ts";
import type { GatewayDouble } from "../../client/double.ts";
import { serveDouble, type DoubleServer } from "../double-server.ts";
import { images, setUp } from "../doubles.ts";
import { HandoffClient } from "../service/handoff-client.ts";
import { Child } from "./child.ts";

const MAIN = join(import.meta.dirname, "..", "..", "..", "companion", "main.ts");
const TRAINER = join(import.meta.dirname, "trainer.worker.ts");
const ITEMS = 40;
const { blake3 } = await loadKernels({ heapBytes: 1 << 20 });
let folder: string;
let double: GatewayDouble;
let gateway: DoubleServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "cyxcloud-processes-"));
  ({ double } = setUp(images(ITEMS), blake3));
  gateway = await serveDouble(double);
});
afterAll(async () => {
  await gateway.stop();
  rmSync(folder, { recursive: true });
});

const children: Child[] = [];
afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.end("SIGKILL")));
});

interface Running {
  readonly child: Child;
  readonly url: string;
  readonly socket: string;
}

async function start(name: string, ...more: string[]): Promise<Running> {
  const socket = join(folder, `${name}.sock`);
  const flags = ["--listen", "127.0.0.1:0", "--gateway", gateway.url, "--handoff-socket", socket];
  const child = Child.start(MAIN, [...flags, "--pins", join(folder, `${name}.json`), ...more], {
    XDG_RUNTIME_DIR: folder,
  });
  children.push(child);
  const [, url] = await child.line(/"companion_started".*"address":"([^"]+)"/);
  return { child, url: url as string, socket };
}

const request = (more: Partial<StreamRequest> = {}): StreamRequest => ({
  dataset: "letters",
  access_token: "eyJsecret.token.t",
  batch_size: 4,
  ...more,
});
const rings = ({ child }: Running): string[] =>
  readdirSync("/dev/shm").filter((name) => name.includes(`-${child.process.pid}-`));

test("a companion that is killed: the trainer learns it, keeps its memory, and goes on with the next one", async () => {
  const first = await start("killed");
  const client = await HandoffClient.connect(first.socket);
  await client.open(request({ shuffle: true }));
  const seen: number[] = [];
  let position: StreamRequest["position"];
  let held: Awaited<ReturnType<typeof client.expect<"batch">>> | undefined;
  for (let i = 0; i < 3; i++) {
    held = await client.expect("batch");
    for (let n = 0; n < held.count; n++)
      seen.push(Number(client.read(held, "indices").readBigUInt64LE(8 * n)));
    ({ position } = held);
  }
  const before = client.read(held as NonNullable<typeof held>, "data");
  expect(await first.child.end("SIGKILL")).toEqual([null, "SIGKILL"]);
  for (let message = await client.next(); message !== undefined; message = await client.next())
    expect(message.type).toBe("batch");
  expect(client.read(held as NonNullable<typeof held>, "data")).toEqual(before);
  expect(rings(first)).toEqual([]);
  expect(existsSync(first.socket)).toBe(true);

  const second = await start("killed");
  const next = await HandoffClient.connect(second.socket);
  await next.open(request({ shuffle: true, ...(position && { position }) }));
  for await (const batch of next.batches())
    for (let n = 0; n < batch.count; n++)
      seen.push(Number(next.read(batch, "indices").readBigUInt64LE(8 * n)));
  expect(seen.toSorted((a, b) => a - b)).toEqual(Array.from({ length: ITEMS }, (_, i) => i));
  client.kill();
  next.kill();
});

test("told to stop, it hands over what is ready, says why, and waits for its trainer", async () => {
  const companion = await start("drained", "--drain-timeout", "60");
  const client = await HandoffClient.connect(companion.socket);
  await client.open(request({ slots: 3 }));
  const batches = [await client.expect("batch"), await client.expect("batch"), await client.expect("batch")];
  companion.child.process.kill("SIGTERM");
  await companion.child.line(/companion_draining/);
  const acknowledged = double.acknowledgements.length;
  let last = await client.next();
  for (; last?.type === "batch"; last = await client.next()) batches.push(last);
  expect(last).toMatchObject({ type: "error", code: "unavailable", details: { reason: "draining" } });
  for (const batch of batches) client.release(batch, { acknowledge: true });
  expect(await companion.child.end()).toEqual([0, null]);
  expect(existsSync(companion.socket)).toBe(false);
  expect(double.acknowledgements.length).toBeGreaterThan(acknowledged);
  client.kill();
});

test("a trainer that never lets go does not keep it from stopping, nor does a second signal", async () => {
  const patient = await start("timeout", "--drain-timeout", "0.2");
  const holder = await HandoffClient.connect(patient.socket);
  await holder.open(request({ slots: 2 }));
  await holder.expect("batch");
  expect(await patient.child.end("SIGTERM")).toEqual([0, null]);
  holder.kill();

  const insisted = await start("insisted", "--drain-timeout", "3600");
  const other = await HandoffClient.connect(insisted.socket);
  await other.open(request({ slots: 2 }));
  await other.expect("batch");
  insisted.child.process.kill("SIGTERM");
  await insisted.child.line(/companion_draining/);
  const again = setInterval(() => insisted.child.process.kill("SIGTERM"), 100);
  expect(await insisted.child.end()).toEqual([1, null]);
  clearInterval(again);
  expect(rings(insisted)).toEqual([]);
  other.kill();
});

test("two companions, two trainers each: nobody disturbs another", async () => {
  const companions = await Promise.all([start("one"), start("two")]);
  expect(companions[0]?.url).not.toBe(companions[1]?.url);
  const trainers = companions.flatMap(({ socket }) =>
    [0, 1].map((rank) => {
      const ranks = { rank, world_size: 2, epochs: 3, shuffle: true, stream_id: socket };
      const child = Child.start(TRAINER, [socket, JSON.stringify(request(ranks)), "stream"]);
      children.push(child);
      return child;
    }),
  );
  const sums = await Promise.all(
    trainers.map(async (trainer) => Number((await trainer.line(/^sum (\d+)$/))[1])),
  );
  for (const trainer of trainers) expect(await trainer.end()).toEqual([0, null]);
  const all = images(ITEMS).reduce((sum, _, i) => sum + pixelSum(i), 0);
  expect((sums[0] as number) + (sums[1] as number)).toBe(3 * all);
  expect((sums[2] as number) + (sums[3] as number)).toBe(3 * all);

  const [one, two] = companions;
  await one.child.end("SIGKILL");
  expect((await fetch(`${two.url}/healthz`)).status).toBe(200);
});

const pixelSum = (i: number): number => {
  let sum = 0;
  for (let j = 0; j < 16; j++) sum += (i * 17 + j) & 0xff;
  return sum;
};

test("a second companion on the same socket or port names what is in its way", async () => {
  const first = await start("taken");
  for (const [flags, reason] of [
    [
      ["--listen", first.url.replace("http://", ""), "--handoff-socket", join(folder, "free.sock")],
      /listen: .* is in use/,
    ],
    [["--listen", "127.0.0.1:0", "--handoff-socket", first.socket], /Another companion answers at/],
  ] as const) {
    const child = Child.start(MAIN, flags);
    await child.line(reason);
    expect(await child.end()).toEqual([1, null]);
  }
  expect((await fetch(`${first.url}/healthz`)).status).toBe(200);
});

test("left alone for as long as it was told, it ends", async () => {
  const companion = await start("idle", "--exit-when-idle", "0.3");
  const client = await HandoffClient.connect(companion.socket);
  await client.open(request());
  for await (const batch of client.batches()) void batch;
  client.kill();
  expect(await companion.child.end()).toEqual([0, null]);
  expect(companion.child.lines.join("\n")).not.toContain("eyJsecret");
});

/** The isomorphic client and the kernels in a real browser, against the real gateway of another origin. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { blake3 } from "@noble/hashes/blake3.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { build } from "esbuild";
import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { toHex } from "../../core/bytes.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { requireTool } from "../support/tools.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const CHROMIUM = requireTool("chromium");
const LENGTHS = [0, 1, 1023, 1024, 1025, 5120, 102_400];
const FILES = 40;

declare const page: {
  digest(length: number): Promise<string>;
  uploadAndStream(gateway: string, apiKey: string, count: number): Promise<{ paths: string[]; head: string }>;
};

describe.skipIf(CHROMIUM === undefined)("in Chromium (needs chromium)", () => {
  let gateway: TestGateway;
  let server: Server;
  let browser: Browser;
  let tab: Page;
  const violations: string[] = [];

  beforeAll(async () => {
    gateway = await startGateway();
    server = await serve();
    browser = await chromium.launch({
      executablePath: CHROMIUM as string,
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    });
    tab = await browser.newPage();
    tab.on("pageerror", (error) => violations.push(error.message));
    await tab.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  });

  afterAll(async () => {
    await browser?.close();
    server?.close();
    await gateway?.stop();
  });

  test("the kernels hash as the oracle does", async () => {
    for (const length of LENGTHS) {
      const expected = bytesToHex(blake3(Uint8Array.from({ length }, (_, i) => i % 251)));
      expect(await tab.evaluate((n) => page.digest(n), length)).toBe(expected);
    }
  });

  test("a page uploads, creates a dataset and streams it verified, with the transcript that Node gets", async () => {
    const { url, owner } = gateway;
    const streamed = await tab.evaluate(([to, key, count]) => page.uploadAndStream(to, key, count), [
      url,
      owner.apiKey,
      FILES,
    ] as const);
    expect(streamed.paths.toSorted()).toEqual(
      Array.from({ length: FILES }, (_, i) => `c/${String(i).padStart(3, "0")}.txt`),
    );

    const client = new DataStreamClient({ gateway: url, apiKey: owner.apiKey });
    let head = "";
    for await (const batch of client.streamBatches({
      dataset: "pages",
      batchSize: 8,
      shuffle: true,
      seed: 4,
    })) {
      head = toHex(batch.transcriptHead);
    }
    expect(streamed.head).toBe(head);
    expect(violations).toEqual([]);
  });
});

/** A page, its script, and the wasm beside it: what any static host would serve. */
async function serve(): Promise<Server> {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, "page.ts")],
    bundle: true,
    format: "esm",
    platform: "browser",
    conditions: ["default"],
    write: false,
  });
  const files: Record<string, { type: string; body: string | Uint8Array }> = {
    "/": {
      type: "text/html",
      body: '<!doctype html><title>client</title><script type="module" src="/page.js"></script>',
    },
    "/page.js": { type: "text/javascript", body: outputFiles[0]?.contents ?? "" },
    "/kernels.wasm": { type: "application/wasm", body: readFileSync(join(ROOT, "kernels", "kernels.wasm")) },
  };
  const server = createServer((request, response) => {
    const file = files[request.url ?? ""];
    response.writeHead(file === undefined ? 404 : 200, { "content-type": file?.type ?? "text/plain" });
    response.end(file?.body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

/** examples/cpp, built with Debian's packages, against a real gateway and companion. */
import { execFile, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, globSync } from "node:fs";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import { connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../../client/client.ts";
import { DataStreamService } from "../../../proto/index.ts";
import { noise } from "../../stream/fixture.ts";
import { startGateway, type TestGateway } from "../../support/gateway.ts";
import { requireTool } from "../../support/tools.ts";
import { startCompanion, type TestCompanion } from "../service/companions.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const BUILD = join(ROOT, ".cyxcloud", "build", "examples-cpp");
const FILES = 130;
const ITEM_BYTES = 100_000;

describe.skipIf(!canBuild())("the C++ example (needs cmake, g++ and the packages of examples/cpp)", () => {
  let gateway: TestGateway;
  let companion: TestCompanion;
  let contentHash: string;

  beforeAll(async () => {
    await run("cmake", ["-S", join(ROOT, "examples", "cpp"), "-B", BUILD]);
    await run("cmake", ["--build", BUILD, "--parallel", "2"]);
    gateway = await startGateway();
    companion = await startCompanion({ gateway: gateway.url });
    const client = new DataStreamClient({ gateway: gateway.url, apiKey: gateway.owner.apiKey });
    await client.objects.ensureBucket("noise");
    await client.uploadFolder({ bucket: "noise", prefix: "" }, files());
    const schema = { type: "bytes", format: "raw", shape: [ITEM_BYTES], dtype: "uint8" };
    contentHash = (await client.datasets.create({ name: "noise", files: ["noise/**"], schema })).content_hash;
  }, 600_000);
  afterAll(async () => {
    await companion?.close();
    await gateway?.stop();
  });

  const asOwner = (): Record<string, string> => ({ CYXCLOUD_API_KEY: gateway.owner.apiKey });
  const example = (
    parameters: readonly string[],
    {
      address = companion.url.replace("http://", ""),
      secrets = asOwner(),
    }: { address?: string; secrets?: Record<string, string> } = {},
  ): Promise<Ended> =>
    ended(
      join(BUILD, "cyxcloud-example"),
      ["--gateway", gateway.url, "--companion", address, ...parameters],
      secrets,
    );

  test("it lists the datasets", async () => {
    const { code, output } = await example([]);
    expect([code, output]).toEqual([0, expect.stringMatching(/^owner\/noise +1 +130 +13\.00 +self$/m)]);
  });

  test("it streams batches above gRPC's usual limit, and verifies every item", async () => {
    for (const further of [[], ["--shuffle", "--content-hash", contentHash]]) {
      const { code, output, errors } = await example([
        "--dataset",
        "noise",
        "--batch-size",
        "64",
        ...further,
      ]);
      expect([code, errors]).toEqual([0, ""]);
      expect(output).toMatch(/^ +1\/3 +64 +6400\.0 /m);
      expect(output).toMatch(/^ +3\/3 +2 +200\.0 /m);
      expect(output).toContain(
        `Verified: 3 batches, 130 items, 13000000 bytes have the hashes of noise@blake3:${contentHash}`,
      );
    }
  });

  test("an access token opens its dataset alone", async () => {
    const client = new DataStreamClient({ gateway: gateway.url, apiKey: gateway.owner.apiKey });
    const { token } = await client.datasets.createToken("noise");
    const { code, output } = await example(["--dataset", "noise"], {
      secrets: { CYXCLOUD_TOKEN: token },
    });
    expect([code, output]).toEqual([0, expect.stringContaining("Verified: 3 batches")]);
  });

  test("another manifest than the pinned one is refused, and so is a token that is none", async () => {
    const other = await example(["--dataset", "noise", "--content-hash", "0".repeat(64)]);
    expect([other.code, other.errors]).toEqual([
      1,
      expect.stringContaining(`The manifest has the hash ${contentHash}`),
    ]);
    const secrets = { ...asOwner(), CYXCLOUD_TOKEN: "x.y.z" };
    const refused = await example(["--dataset", "noise"], { secrets });
    expect([refused.code, refused.errors]).toEqual([
      1,
      expect.stringMatching(/StreamBatches failed: .*\(code 16\)/),
    ]);
  });

  test("an item that was changed on the way is named", async () => {
    const honest = createClient(DataStreamService, createGrpcTransport({ baseUrl: companion.url }));
    const handler = connectNodeAdapter({
      routes: (router) =>
        router.service(DataStreamService, {
          async *streamBatches(request) {
            for await (const batch of honest.streamBatches(request)) {
              if (batch.batchIndex === 1n) batch.items[5]?.fill(0, 99_999);
              yield batch;
            }
          },
        }),
    });
    const liar = createServer(handler).listen(0, "127.0.0.1");
    await once(liar, "listening");
    const address = `127.0.0.1:${(liar.address() as AddressInfo).port}`;
    const { code, errors } = await example(["--dataset", "noise"], { address });
    liar.close();
    expect([code, errors]).toEqual([
      1,
      expect.stringMatching(/^Not verified: Batch 1: item 69 has the hash /),
    ]);
  });

  test("what it cannot do is said with its usage", async () => {
    const { code, errors } = await example(["--batch-size", "0"]);
    expect([code, errors]).toEqual([2, expect.stringMatching(/--batch-size must be .*\nUsage:/)]);
  });
});

interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
}

function ended(file: string, parameters: readonly string[], secrets: Record<string, string>): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(file, parameters, { env: secrets }, (_error, output, errors) =>
      resolve({ code: child.exitCode, output, errors }),
    );
  });
}

async function run(file: string, parameters: readonly string[]): Promise<void> {
  await promisify(execFile)(file, parameters, { maxBuffer: 1 << 26 });
}

async function* files(): AsyncGenerator<{ path: string; blob: Blob }> {
  for (let i = 0; i < FILES; i++)
    yield { path: `${String(i).padStart(4, "0")}.raw`, blob: new Blob([noise(ITEM_BYTES, i)]) };
}

/** @throws where continuous integration lacks something. */
function canBuild(): boolean {
  const tools = ["cmake", "g++", "make", "protoc", "grpc_cpp_plugin"];
  const packages = requireTool("pkg-config");
  if (packages === undefined || !tools.every((name) => requireTool(name) !== undefined)) return false;
  const libraries = ["--exists", "grpc++", "protobuf", "libcurl", "nlohmann_json"];
  const hasBlake3 =
    existsSync("/usr/include/blake3.h") ||
    globSync("/usr/share/cargo/registry/blake3-*/c/blake3.c").length > 0;
  if (hasBlake3 && spawnSync(packages, libraries).status === 0) return true;
  if (process.env["CYXCLOUD_REQUIRE_TOOLS"] === "1")
    throw new Error("A library of examples/cpp is not installed, and no test may skip.");
  return false;
}

/** A Python gRPC client that knows nothing but proto/datastream.proto streams the demo's dataset from a companion. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findFiles, openFiles } from "../../../cli/walk.ts";
import { DataStreamClient } from "../../../client/client.ts";
import { toHex } from "../../../core/bytes.ts";
import { writeDigits } from "../../../scripts/demo/digits.ts";
import { startGateway, type TestGateway } from "../../support/gateway.ts";
import { requireTool } from "../../support/tools.ts";
import { startCompanion, type TestCompanion } from "../service/companions.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const BATCH_SIZE = 64;
const python = findPython();
let gateway: TestGateway;
let companion: TestCompanion;
let client: DataStreamClient;
const folder = mkdtempSync(join(tmpdir(), "cyxcloud-digits-"));

beforeAll(async () => {
  gateway = await startGateway();
  companion = await startCompanion({ gateway: gateway.url });
  client = new DataStreamClient({ gateway: gateway.url, apiKey: gateway.owner.apiKey });
  writeDigits(folder);
  await client.objects.ensureBucket("demo");
  await client.uploadFolder({ bucket: "demo", prefix: "digits/" }, openFiles(await findFiles(folder)));
  const schema = { type: "image", format: "png", labels: "path" };
  await client.datasets.create({ name: "digits", files: ["demo/digits/**"], schema });
});
afterAll(async () => {
  await companion.close();
  await gateway.stop();
  rmSync(folder, { recursive: true });
});

test.skipIf(python === undefined)(
  "stock stubs stream the demo dataset (needs grpcio and grpcio-tools)",
  async () => {
    const { token } = await client.datasets.createToken("digits");
    const dataset = await client.openDataset("digits");
    const { stdout } = await promisify(execFile)(
      python as string,
      [
        join(import.meta.dirname, "client.py"),
        join(ROOT, "proto", "datastream.proto"),
        companion.url.replace("http://", ""),
        "digits",
        token,
        String(BATCH_SIZE),
      ],
      { env: { PATH: process.env["PATH"] ?? "", HOME: folder, TMPDIR: tmpdir() }, maxBuffer: 1 << 26 },
    );
    const indices = Array.from({ length: dataset.count }, (_, i) => i);
    const files = await dataset.files(indices);
    const batches = Math.ceil(dataset.count / BATCH_SIZE);
    expect(JSON.parse(stdout)).toEqual({
      name: "digits",
      files: dataset.count,
      batches,
      hashes: Object.fromEntries(indices.map((i) => [i, toHex(files[i]?.contentHash as Uint8Array)])),
      acknowledged: batches,
      refused: "UNAUTHENTICATED",
    });
  },
);

/** A Python with the packages of requirements.txt: `CYXCLOUD_GRPC_PYTHON`, or the one in the path. */
function findPython(): string | undefined {
  const found = process.env["CYXCLOUD_GRPC_PYTHON"] ?? requireTool("python3");
  if (found === undefined) return undefined;
  try {
    execFileSync(found, ["-c", "import blake3, grpc_tools"], { stdio: "ignore" });
    return found;
  } catch (cause) {
    if (process.env["CYXCLOUD_REQUIRE_TOOLS"] === "1")
      throw new Error("test/companion/grpc/requirements.txt is not installed, and no test may skip.", {
        cause,
      });
    return undefined;
  }
}

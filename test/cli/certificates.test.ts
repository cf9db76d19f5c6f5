/** The command of a training node that has a client certificate, over real TLS. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";
import { type Certificate, createCertificate } from "../../scripts/certificates.ts";
import { startTlsEdge, type TlsEdge } from "../tokens/tls-edge.ts";

const MAIN = join(import.meta.dirname, "..", "..", "cli", "main.ts");
let gateway: StreamGateway;
let edge: TlsEdge;
let dataset: TestDataset;
let home: string;
let mine: Certificate;

beforeAll(async () => {
  gateway = await startStreamGateway();
  edge = await startTlsEdge(gateway);
  dataset = await addDataset(
    gateway,
    noiseFiles(7, () => 10),
  );
  home = mkdtempSync(join(tmpdir(), "cyxcloud-certificates-"));
  mine = createCertificate("node-1", edge.authority);
  put("authority.pem", edge.authority.pem.cert);
  put("mine.pem", mine.pem.cert);
  put("mine.key", mine.pem.key);
  const other = createCertificate("node-2", edge.authority);
  put("other.pem", other.pem.cert);
  put("other.key", other.pem.key);
});
afterAll(async () => {
  edge.stop();
  await gateway.stop();
  rmSync(home, { recursive: true, force: true });
});

function put(name: string, text: string): void {
  writeFileSync(join(home, name), text);
}

function cyxcloud(
  arguments_: readonly string[],
  environment: Record<string, string> = { CYXCLOUD_API_KEY: gateway.owner.apiKey },
): Promise<{ readonly code: number; readonly output: string }> {
  const env = {
    HOME: home,
    CYXCLOUD_GATEWAY: edge.url,
    NODE_EXTRA_CA_CERTS: join(home, "authority.pem"),
    ...environment,
  };
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...arguments_], { env, cwd: home }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
    );
  });
}

const MINE = ["--client-certificate", "mine.pem", "--client-key", "mine.key"];
const OTHER = ["--client-certificate", "other.pem", "--client-key", "other.key"];

test("registers its certificate, and streams with a token that is bound to it", async () => {
  const fingerprint = createHash("sha256").update(mine.raw).digest("hex");
  const registered = await cyxcloud(["node", "register", "node-1", ...MINE]);
  expect(registered).toEqual({
    code: 0,
    output: expect.stringMatching(
      `^Training node registered: node-1\n {2}SHA-256 of the certificate: ${fingerprint}\n`,
    ),
  });
  expect((await cyxcloud(["node", "list"])).output).toMatch(/\nnode-1 +certificate /);
  const issued = await cyxcloud(["dataset", "token", dataset.id, "--node", "node-1", "--json"]);
  const { token } = JSON.parse(issued.output) as { token: string };

  const stream = (more: readonly string[], environment = {}): ReturnType<typeof cyxcloud> =>
    cyxcloud(["stream", dataset.id, "--count", "--token", token, ...more], environment);
  expect(await stream(MINE)).toEqual({ code: 0, output: expect.stringMatching(/\n {2}Items verified: 7\n/) });
  const variables = { CYXCLOUD_CLIENT_CERTIFICATE: "mine.pem", CYXCLOUD_CLIENT_KEY: "mine.key" };
  expect(await stream([], variables)).toMatchObject({ code: 0 });
  for (const others of [[], OTHER])
    expect(await stream(others)).toEqual({ code: 1, output: expect.stringMatching(/^error: .*certificate/) });
  edge.revoked.add(mine);
  expect(await stream(MINE)).toMatchObject({ code: 1 });
  edge.revoked.delete(mine);
  expect(await stream(MINE)).toMatchObject({ code: 0 });
});

test.each([
  [["--client-certificate", "mine.pem"], /client-certificate: goes together with --client-key/],
  [["--client-certificate", "mine.pem", "--client-key", "other.key"], /client-key: .* is not the key of/],
  [["--client-certificate", "mine.key", "--client-key", "mine.key"], /client-certificate: .* no certificate/],
  [["--client-certificate", "mine.pem", "--client-key", "mine.pem"], /client-key: .* no private key/],
  [["--client-certificate", "none.pem", "--client-key", "mine.key"], /ENOENT.*none\.pem/],
])("%j does not serve", async (options, message) => {
  const { code, output } = await cyxcloud(["node", "list", ...options]);
  expect(output).toMatch(message);
  expect(output).not.toContain(mine.pem.key.split("\n")[1]);
  expect(code).toBe(1);
});

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { parse } from "smol-toml";
import { afterAll, expect, test } from "vitest";
import {
  loadConfiguration,
  printConfiguration,
  type ConfigurationSources,
} from "../../../companion/service/configuration.ts";
import { Metrics } from "../../../companion/service/metrics.ts";
import { SETTINGS } from "../../../companion/service/settings.ts";
import { VERSION } from "../../../companion/service/version.ts";
import { DataStreamError } from "../../../core/errors.ts";

const folder = mkdtempSync(join(tmpdir(), "cyxcloud-configuration-"));
afterAll(() => rmSync(folder, { recursive: true }));
const file = (content: string): string => {
  const path = join(folder, "companion.toml");
  writeFileSync(path, content);
  return path;
};
const load = (sources: Partial<ConfigurationSources>): ReturnType<typeof loadConfiguration> =>
  loadConfiguration({ flags: {}, environment: {}, file: undefined, ...sources });
const refusal = (sources: Partial<ConfigurationSources>): string => {
  try {
    load(sources);
  } catch (error) {
    expect(error).toBeInstanceOf(DataStreamError);
    expect(error).toMatchObject({ code: "invalid_argument" });
    return (error as Error).message;
  }
  throw new Error("It was accepted.");
};

test("flags win over the environment, which wins over the file, which wins over defaults", () => {
  const sources = {
    flags: { threads: "5" },
    environment: { CYXCLOUD_COMPANION_THREADS: "4", CYXCLOUD_GATEWAY: "https://e.example/" },
    file: file(
      `threads = 3\ngateway = "https://f.example"\ngateway_patience = "90s"\nallowed_hosts = ["GPU-1", "b"]\n`,
    ),
  };
  const { values, sources: from } = load(sources);
  expect(values).toMatchObject({
    threads: 5,
    gateway: "https://e.example",
    gateway_patience: 90,
    drain_timeout: 30,
    allowed_hosts: ["gpu-1", "b"],
    listen: { kind: "tcp", host: "127.0.0.1", port: 50_052 },
    cache_limit: 0,
  });
  expect(from).toMatchObject({
    threads: "from --threads",
    gateway: "from CYXCLOUD_GATEWAY",
    gateway_patience: `from ${sources.file}`,
    drain_timeout: "default",
  });
});

test.each([
  ["20GB", 20e9],
  ["1 TiB", 2 ** 40],
  ["1.5mib", 1.5 * 2 ** 20],
  ["4096", 4096],
])("a size of %s", (cache_limit, bytes) => {
  expect(load({ flags: { cache_limit } }).values.cache_limit).toBe(bytes);
});

test.each([
  ["[::1]:1", { host: "::1", port: 1 }],
  ["localhost:0", { host: "localhost", port: 0 }],
  ["unix:/run/c.sock", { kind: "unix", path: "/run/c.sock" }],
])("listening on %s needs nothing else", (listen, expected) => {
  expect(load({ flags: { listen } }).values.listen).toMatchObject(expected);
});

test.each<[RegExp, Partial<ConfigurationSources>]>([
  [/^threads \(from --threads\) must be a whole number from 1 to 256/, { flags: { threads: "none" } }],
  [/^gateway \(from CYXCLOUD_GATEWAY\) must be a URL/, { environment: { CYXCLOUD_GATEWAY: "ftp://x" } }],
  [/^listen \(from --listen\) must be HOST:PORT or unix:PATH/, { flags: { listen: "50052" } }],
  [/^listen .* must be HOST:PORT/, { flags: { listen: "127.0.0.1:70000" } }],
  [/^backend .* must be one of auto, shm/, { flags: { backend: "vulkan" } }],
  [/^drain_timeout .* must be a duration/, { flags: { drain_timeout: "soon" } }],
  [/^cache_limit .* must be a size/, { flags: { cache_limit: "20 parsecs" } }],
  [
    /^listen \(from --listen\) 0\.0\.0\.0:1 can be reached .* --tls-certificate, --tls-key and --secret-file/,
    { flags: { listen: "0.0.0.0:1" } },
  ],
  [/^listen .* can be reached/, { flags: { listen: "[::]:1" } }],
  [/^listen .* can be reached/, { flags: { listen: "gpu-1:1", tls_certificate: "a", tls_key: "b" } }],
  [
    /^listen .* can be reached/,
    { flags: { listen: "gpu-1:1" }, environment: { CYXCLOUD_COMPANION_SECRET: "x".repeat(20) } },
  ],
  [/^tls_key .* needs tls_certificate/, { flags: { tls_key: "b" } }],
  [/^client_certificate .* needs client_key/, { flags: { client_certificate: "b" } }],
  [/^secret .* at least 16/, { environment: { CYXCLOUD_COMPANION_SECRET: "short" } }],
  [/^secret_file .* cannot be read \(ENOENT\)/, { flags: { secret_file: "/nowhere/at/all" } }],
  [/^config \/nowhere.toml cannot be read \(ENOENT\)/, { file: "/nowhere.toml" }],
])("%s", (message, sources) => {
  expect(refusal(sources)).toMatch(message);
});

test("a file is refused for what it should not hold, and never quoted", () => {
  expect(refusal({ file: file("thread = 3\n") })).toMatch(
    /^thread \(from .*\) is no setting. Known: gateway, listen/,
  );
  expect(refusal({ file: file(`secret = "hunter2hunter2hunter2"\n`) })).toMatch(/^secret .* secret_file/);
  const broken = refusal({ file: file(`gateway = "https://x"\nsecret_file = hunter2hunter2\n`) });
  expect(broken).toMatch(/is no TOML: see line 2/);
  expect(broken).not.toContain("hunter2");
});

test("what is printed is a file that gives the same, without the secret", () => {
  const secret = "hunter2hunter2hunter2";
  const loaded = load({
    flags: { gateway: "https://a.example", allowed_origins: ["https://b.example"], cache_limit: "1GB" },
    environment: { CYXCLOUD_COMPANION_SECRET: secret },
  });
  const printed = printConfiguration(loaded);
  expect(printed).not.toContain(secret);
  expect(printed).toContain("# secret: set (from CYXCLOUD_COMPANION_SECRET)");
  expect(parse(printed)).toMatchObject({ gateway: "https://a.example", listen: "127.0.0.1:50052" });
  const { secret: _, ...rest } = loaded.values;
  expect(load({ file: file(printed) }).values).toEqual({ ...rest, secret: undefined });
});

test("every setting is in the operators' page, with its variable", () => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/companion.md"), "utf8");
  for (const { key, environment } of Object.values(SETTINGS)) {
    expect(page, key).toContain(`\`${key}\``);
    expect(page, environment).toContain(`\`${environment}\``);
  }
});

test("every metric is in the operators' page", async () => {
  const metrics = new Metrics({
    messageBytes: () => 0,
    slots: () => ({ held: 0, all: 0 }),
    draining: () => false,
  });
  const page = readFileSync(join(import.meta.dirname, "../../../docs/companion.md"), "utf8");
  for (const { name } of await metrics.registry.getMetricsAsJSON())
    expect(page, name).toContain(`\`${name.replace("cyxcloud_companion_", "")}\``);
});

test("the command says its version and its settings, and refuses what it does not know", async () => {
  const main = join(import.meta.dirname, "../../../companion/main.ts");
  const run = (...flags: string[]): Promise<{ stdout: string; stderr: string }> =>
    promisify(execFile)(process.execPath, [main, ...flags], {
      env: { PATH: process.env["PATH"] ?? "", HOME: folder },
    });
  expect((await run("--version")).stdout.trim()).toBe(VERSION);
  expect((await run("--print-config", "--threads", "7")).stdout).toContain("threads = 7 # from --threads");
  await expect(run("--threads", "0")).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining("threads") as string,
  });
  await expect(run("--colour", "blue")).rejects.toMatchObject({ code: 2 });
});

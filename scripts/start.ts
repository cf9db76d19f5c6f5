/** `npm start`: the local stack, left running for other programs to attach to. */
import { rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Command, InvalidArgumentError } from "commander";
import { DataStreamClient } from "../client/client.ts";
import { DataStreamError } from "../core/errors.ts";
import type { Companion } from "../companion/service/companion.ts";
import { createDigits, DIGITS_DATASET, uploadDigits } from "./demo/dataset.ts";
import { startLocalCompanion } from "./stack/companion.ts";
import { MigrationsChangedError } from "./stack/applied-migrations.ts";
import { startStack, type Stack } from "./stack/index.ts";
import { ROOT } from "./stack/paths.ts";
import { PortBusyError } from "./stack/ports.ts";
import { StackRunningError, writePrivateJson } from "./stack/state.ts";

/** A terminal's Ctrl-C arrives twice, directly and through npm; what follows later is a person who insists. */
const INSIST_AFTER_MS = 500;

interface Options {
  readonly port: number;
  readonly databasePort: number;
  readonly bridgePort: number;
  readonly companionPort: number;
  readonly owner: string;
  readonly directory: string;
  readonly signUp?: boolean;
  readonly digits?: boolean;
  readonly entry?: string;
}

const options = new Command("npm start --")
  .description("Starts the whole stack on this machine and leaves it running.")
  .option("--port <port>", "gateway; 0 takes a free one", asPort, 8787)
  .option("--database-port <port>", "PostgreSQL", asPort, 54_329)
  .option("--bridge-port <port>", "Neon bridge", asPort, 54_330)
  .option("--companion-port <port>", "companion; the next free one where it is taken", asPort, 50_052)
  .option("--owner <name>", "user that the first start creates", "owner")
  .option("--directory <path>", "keeps everything between starts", join(ROOT, ".cyxcloud"))
  .option("--sign-up", "let strangers create accounts for themselves")
  .option("--digits", "upload the demo's handwritten digits as the dataset digits, unless it is there")
  .option("--entry <module>", "Worker to run instead of functions/gateway.ts")
  .parse()
  .opts<Options>();

const stopRequested = requestToStop();
const stack = await start();
const companion = await startCompanion(stack);
const devFile = join(resolve(options.directory), "dev.json");
writePrivateJson(devFile, {
  gateway_url: stack.gatewayUrl,
  api_key: stack.apiKey,
  database_url: stack.databaseUrl,
  bridge_url: stack.bridgeUrl,
  companion_url: companion.address,
  pid: process.pid,
});
if (options.digits === true) await addDigits(stack);
announce(stack, companion);

const reason = await Promise.race([stopRequested, stack.postgres.ended.then(() => "the database ended")]);
console.log(`\nStopping (${reason}) …`);
rmSync(devFile, { force: true });
await companion.close();
await stack.stop();
console.log("Stopped. Everything is kept for the next start.");
process.exit(reason.startsWith("SIG") ? 0 : 1);

async function start(): Promise<Stack> {
  console.log("Starting PostgreSQL, the bridge and the gateway …");
  try {
    return await startStack({
      directory: options.directory,
      gatewayPort: options.port,
      databasePort: options.databasePort,
      bridgePort: options.bridgePort,
      ownerName: options.owner,
      ...(options.signUp === true && { bindings: { SIGN_UP: "open" } }),
      ...(options.entry !== undefined && { entry: options.entry }),
    });
  } catch (error) {
    const expected = [PortBusyError, StackRunningError, MigrationsChangedError];
    console.error(expected.some((each) => error instanceof each) ? (error as Error).message : error);
    process.exit(1);
  }
}

async function startCompanion(running: Stack): Promise<Companion> {
  try {
    return await startLocalCompanion(running.gatewayUrl, options.companionPort);
  } catch (error) {
    console.error(error instanceof DataStreamError ? error.message : error);
    await running.stop();
    process.exit(1);
  }
}

/** Something to stream, for the examples. */
async function addDigits({ gatewayUrl, apiKey }: Stack): Promise<void> {
  const client = new DataStreamClient({ gateway: gatewayUrl, apiKey });
  for await (const { name } of client.datasets.list({ search: DIGITS_DATASET }))
    if (name === DIGITS_DATASET) return;
  await uploadDigits(client, (line) => console.log(`${line} …`));
  await createDigits(client);
}

/** Resolves with the first signal; a later one ends at once, without waiting for anything. */
function requestToStop(): Promise<string> {
  return new Promise((resolveFirst) => {
    let insisting = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (insisting) process.exit(1);
      resolveFirst(signal);
      void delay(INSIST_AFTER_MS, undefined, { ref: false }).then(() => (insisting = true));
    };
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  });
}

function announce({ gatewayUrl, apiKey, databaseUrl, bridgeUrl }: Stack, { address }: Companion): void {
  console.log(`
Running.
  Gateway      ${gatewayUrl}
  Companion    ${address}
  API key      ${apiKey}
  Database     ${databaseUrl}
  Neon bridge  ${bridgeUrl}
  All of it in ${devFile}

Try next:
  curl ${gatewayUrl}/healthz
  npx cyxcloud upload ./folder --bucket datasets
  npm run demo

Ctrl-C stops it.`);
}

function asPort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535)
    throw new InvalidArgumentError("a port is 0 to 65535.");
  return port;
}

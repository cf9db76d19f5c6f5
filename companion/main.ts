/** The command `cyxcloud-companion`. */
import { Command, CommanderError, Option } from "commander";
import { DataStreamError } from "../core/errors.ts";
import { createLog, errorFields } from "../core/log.ts";
import { Companion } from "./service/companion.ts";
import { flagOf, loadConfiguration, printConfiguration } from "./service/configuration.ts";
import { SETTINGS, type Setting } from "./service/settings.ts";
import { VERSION } from "./service/version.ts";

const USAGE_EXIT_CODE = 2;
/** A terminal's Ctrl-C may arrive twice, directly and through npm; what follows later is a person who insists. */
const INSIST_AFTER_MS = 500;

const log = createLog((_, line) => process.stderr.write(`${line}\n`));

try {
  await run();
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : USAGE_EXIT_CODE);
  const { code, message } = DataStreamError.from(error);
  process.stderr.write(`error: ${message}\n`);
  if (code === "internal") log.error("companion_failed", errorFields(error));
  process.exit(1);
}

async function run(): Promise<void> {
  const { config, printConfig, flags } = commandLine();
  const loaded = loadConfiguration({
    flags,
    environment: process.env,
    file: config ?? process.env["CYXCLOUD_COMPANION_CONFIG"],
  });
  if (printConfig) {
    process.stdout.write(printConfiguration(loaded));
    return;
  }
  // Whatever was missed elsewhere: told like everything else, without its secrets.
  for (const event of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(event, (error: unknown) => {
      log.error("companion_crashed", errorFields(error));
      process.exit(1);
    });
  }
  const stop = requestToStop();
  const companion = await Companion.start(loaded.values, log);
  const reason = await Promise.race([stop, companion.idle.then(() => "idle")]);
  log.info("companion_stopping", { reason });
  await companion.drain();
  process.exit(0);
}

interface CommandLine {
  readonly config: string | undefined;
  readonly printConfig: boolean;
  /** By the settings' keys. */
  readonly flags: Readonly<Record<string, unknown>>;
}

function commandLine(): CommandLine {
  const program = new Command("cyxcloud-companion")
    .description(
      "Receives, verifies and decodes batches of training data, and hands them to programs on this machine.",
    )
    .version(VERSION)
    .option("--config <file>", "TOML file of settings (default: CYXCLOUD_COMPANION_CONFIG)")
    .option("--print-config", "print the settings and where each comes from, without secrets, and exit")
    .addHelpText(
      "after",
      "\nEach flag has a variable of the environment and a key in the file: docs/companion.md lists them.",
    )
    .exitOverride();
  const settings = (Object.values(SETTINGS) as Setting<unknown>[]).filter(
    ({ isSecret }) => isSecret !== true,
  );
  for (const { key, placeholder, help, fallback, isList } of settings) {
    const isShown = typeof fallback === "string" || typeof fallback === "number";
    const option = new Option(
      `--${flagOf(key)} ${placeholder}`,
      isShown ? `${help} (default: ${fallback})` : help,
    );
    if (isList === true)
      option.argParser((value: string, before: string[] | undefined) => [
        ...(before ?? []),
        ...value.split(","),
      ]);
    program.addOption(option);
  }
  const options = program.parse().opts<Record<string, unknown>>();
  const nameOf = (key: string): string =>
    key.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  return {
    config: options["config"] as string | undefined,
    printConfig: options["printConfig"] === true,
    flags: Object.fromEntries(settings.map(({ key }) => [key, options[nameOf(key)]])),
  };
}

/** Resolves with the first signal; a later one ends at once, without waiting for anything. */
function requestToStop(): Promise<string> {
  return new Promise((resolve) => {
    let insistsFrom = Number.POSITIVE_INFINITY;
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        if (performance.now() >= insistsFrom) process.exit(1);
        insistsFrom = Math.min(insistsFrom, performance.now() + INSIST_AFTER_MS);
        resolve(signal);
      });
    }
  });
}

import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { DataStreamClient } from "../client/client.ts";
import { invalidArgument } from "../core/errors.ts";
import { readKnownKeys } from "../companion/known-keys-file.ts";
import { FilePinStore } from "../companion/pin-file.ts";
import { openNodeKey } from "../companion/key-file.ts";
import { Output } from "./output.ts";

/** Options that every command has. */
interface GlobalOptions {
  readonly gateway?: string;
  readonly token?: string;
  readonly nodeKey?: string;
  readonly json?: boolean;
}

/** What a command works with. */
export interface Context {
  readonly client: DataStreamClient;
  readonly output: Output;
  /** Whether the client acts as a user, and not just as the holder of an access token. */
  readonly gatewayUrl: string;
}

/** A person waits: a gateway that is not there is told within seconds. Streams have more patience of their own. */
const RETRY = { attempts: 4, firstDelayMs: 200, maxDelayMs: 2_000 } as const;
/** Keys whose signatures are accepted, whatever a gateway says. */
export const KNOWN_KEYS_FILE: string = join(homedir(), ".config", "cyxcloud", "known-keys");
/** Where versions that were seen once are remembered. */
const PIN_FILE: string = join(homedir(), ".config", "cyxcloud", "pins.json");

/**
 * Gateway and credentials: options first, then `CYXCLOUD_GATEWAY`, `CYXCLOUD_API_KEY` and
 * `CYXCLOUD_ACCESS_TOKEN` (with `CYXCLOUD_NODE_KEY` where it is bound to a node), then the local stack that runs in this folder or one above it. Keys are
 * never taken from the command line, where other processes can read them.
 */
export function contextOf(command: Command): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  const local = localStack(process.cwd());
  const gateway = options.gateway ?? process.env["CYXCLOUD_GATEWAY"] ?? local?.gateway_url;
  if (gateway === undefined) {
    throw invalidArgument(
      "gateway",
      "unknown. Give --gateway or set CYXCLOUD_GATEWAY, or start a local stack with: npm start",
    );
  }
  const apiKey =
    process.env["CYXCLOUD_API_KEY"] ?? (gateway === local?.gateway_url ? local.api_key : undefined);
  const accessToken = options.token ?? process.env["CYXCLOUD_ACCESS_TOKEN"];
  const nodeKey = options.nodeKey ?? process.env["CYXCLOUD_NODE_KEY"];
  const client = new DataStreamClient({
    gateway,
    pins: new FilePinStore(PIN_FILE),
    knownKeys: readKnownKeys(KNOWN_KEYS_FILE),
    retry: RETRY,
    // A token given by hand stands alone: falling back to the user's key would hide what it may not do.
    ...(apiKey === undefined || options.token !== undefined ? {} : { apiKey }),
    ...(accessToken === undefined ? {} : { accessToken }),
    ...(nodeKey === undefined ? {} : { nodeKey: openNodeKey(nodeKey) }),
  });
  return { client, output: new Output(options.json ?? false), gatewayUrl: gateway };
}

interface LocalStack {
  readonly gateway_url: string;
  readonly api_key: string;
}

function localStack(folder: string): LocalStack | undefined {
  const file = join(folder, ".cyxcloud", "dev.json");
  if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")) as LocalStack;
  const parent = dirname(folder);
  return parent === folder ? undefined : localStack(parent);
}

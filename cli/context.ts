import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import type { Command } from "commander";
import { DataStreamClient } from "../client/client.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { readKnownKeys } from "../companion/known-keys-file.ts";
import { FilePinStore } from "../companion/pin-file.ts";
import { openNodeKey } from "../companion/key-file.ts";
import { certificateFetch } from "./certificate.ts";
import { Output } from "./output.ts";

/** Options that every command has. */
interface GlobalOptions {
  readonly gateway?: string;
  readonly token?: string;
  readonly nodeKey?: string;
  readonly clientCertificate?: string;
  readonly clientKey?: string;
  readonly json?: boolean;
}

/** What a command works with. */
export interface Context {
  readonly client: DataStreamClient;
  readonly output: Output;
  /** Whether connections prove a client certificate. */
  readonly hasCertificate: boolean;
}

/** A person waits: a gateway that is not there is told within seconds. Streams have more patience of their own. */
const RETRY = { attempts: 4, firstDelayMs: 200, maxDelayMs: 2_000 } as const;
/** Keys whose signatures are accepted, whatever a gateway says. */
export const KNOWN_KEYS_FILE: string = join(homedir(), ".config", "cyxcloud", "known-keys");
/** Where versions that were seen once are remembered. */
const PIN_FILE: string = join(homedir(), ".config", "cyxcloud", "pins.json");

/**
 * Gateway and credentials: options first, then `CYXCLOUD_GATEWAY`, `CYXCLOUD_API_KEY` and `CYXCLOUD_ACCESS_TOKEN` (with
 * `CYXCLOUD_NODE_KEY`, or `CYXCLOUD_CLIENT_CERTIFICATE` and `CYXCLOUD_CLIENT_KEY`, where it is bound to a node), then the
 * local stack that runs in this folder or one above it. A variable that is empty counts as unset. Keys are never taken
 * from the command line, where other processes can read them.
 */
export function contextOf(command: Command): Context {
  const options = command.optsWithGlobals<GlobalOptions>();
  const local = localStack(process.cwd());
  const gateway = options.gateway ?? variable("CYXCLOUD_GATEWAY") ?? local?.gateway_url;
  if (gateway === undefined) {
    throw invalidArgument(
      "gateway",
      "unknown. Give --gateway or set CYXCLOUD_GATEWAY, or start a local stack with: npm start",
    );
  }
  if (!/^https?:\/\//.test(gateway) || !URL.canParse(gateway))
    throw invalidArgument("gateway", `${gateway} is no address such as https://data.example.com.`);
  const apiKey = variable("CYXCLOUD_API_KEY") ?? (gateway === local?.gateway_url ? local.api_key : undefined);
  const accessToken = options.token ?? variable("CYXCLOUD_ACCESS_TOKEN");
  if (apiKey === undefined && accessToken === undefined) {
    throw new DataStreamError(
      "unauthenticated",
      `There is no API key for ${gateway}. Set CYXCLOUD_API_KEY, or give an access token with --token.`,
    );
  }
  const nodeKey = options.nodeKey ?? variable("CYXCLOUD_NODE_KEY");
  const certificate = options.clientCertificate ?? variable("CYXCLOUD_CLIENT_CERTIFICATE");
  const certificateKey = options.clientKey ?? variable("CYXCLOUD_CLIENT_KEY");
  if ((certificate === undefined) !== (certificateKey === undefined))
    throw invalidArgument("client-certificate", "goes together with --client-key: give both, or neither.");
  const client = new DataStreamClient({
    gateway,
    pins: new FilePinStore(PIN_FILE),
    knownKeys: readKnownKeys(KNOWN_KEYS_FILE),
    retry: RETRY,
    // A token given by hand stands alone: falling back to the user's key would hide what it may not do.
    ...(apiKey === undefined || options.token !== undefined ? {} : { apiKey }),
    ...(accessToken === undefined ? {} : { accessToken }),
    ...(nodeKey === undefined ? {} : { nodeKey: openNodeKey(nodeKey) }),
    ...(certificate === undefined || certificateKey === undefined
      ? {}
      : { fetch: certificateFetch(certificate, certificateKey) }),
  });
  return { client, output: new Output(options.json ?? false), hasCertificate: certificate !== undefined };
}

function variable(name: string): string | undefined {
  return process.env[name] === "" ? undefined : process.env[name];
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

/** Puts a companion together from its configuration. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DataStreamError } from "../../core/errors.ts";
import { errorFields, type Log } from "../../core/log.ts";
import { ItemCache } from "../cache/item-cache.ts";
import { Backends } from "../device/backends.ts";
import { HandoffServer, runtimeFolder } from "../handoff/server.ts";
import { HandoffSession } from "../handoff/session.ts";
import { WorkerPool } from "../workers/pool.ts";
import { Activity } from "./activity.ts";
import { listenText } from "./configuration.ts";
import { Gateways } from "./gateways.ts";
import { httpHandler } from "./http.ts";
import { Metrics } from "./metrics.ts";
import { OnePort } from "./one-port.ts";
import { VERSION } from "./version.ts";
import type { Configuration, ListenAddress } from "./settings.ts";
import { Streams } from "./streams.ts";

/** What a companion consists of. */
export interface Parts {
  readonly configuration: Configuration;
  readonly log: Log;
  readonly backends: Backends;
  readonly workers: WorkerPool;
  readonly cache: ItemCache | undefined;
  readonly streams: Streams;
  readonly port: OnePort;
  readonly handoff: HandoffServer;
  readonly sessions: Set<HandoffSession>;
  readonly activity: Activity;
  /** Set by whoever closes. */
  closing: Promise<void> | undefined;
}

export interface Assembled {
  readonly parts: Parts;
  readonly address: string;
  readonly idle: Promise<void>;
}

/** Starts the parts one after the other. @param undo takes what undoes each. */
export async function assemble(
  configuration: Configuration,
  log: Log,
  undo: (() => unknown)[],
): Promise<Assembled> {
  const gateways = new Gateways(configuration);
  const { shm_folder: folder } = configuration;
  const backends = await Backends.open({
    ...process.env,
    ...(folder !== undefined && { CYXCLOUD_SHM_FOLDER: folder }),
  });
  undo.push(() => backends.close());
  for (const { name, available, reason } of backends.probed) log.info("backend", { name, available, reason });
  const cache = await openCache(configuration, log);
  if (cache !== undefined) undo.push(() => cache.close());
  const workers = new WorkerPool(configuration.threads);
  undo.push(() => workers.close());
  const metrics = new Metrics({
    messageBytes: () => streams.messageBytes,
    slots: () => streams.slots,
    draining: () => streams.isDraining,
  });
  const streams = new Streams({
    configuration,
    version: VERSION,
    backends,
    workers,
    gateways,
    cache,
    metrics,
    log,
  });
  const { promise: idle, resolve: becomeIdle } = Promise.withResolvers<void>();
  const activity = new Activity(configuration.exit_when_idle * 1000, becomeIdle);
  undo.push(() => activity.close());

  let handle: ReturnType<typeof httpHandler> | undefined;
  const { listen } = configuration;
  const port = await openPort(configuration, (request, response) => handle?.(request, response));
  undo.push(() => port.close());
  const sessions = new Set<HandoffSession>();
  const leaveAfter = async (session: HandoffSession): Promise<void> => {
    await session.closed;
    sessions.delete(session);
    activity.leave();
  };
  const handoff = await HandoffServer.listen(handoffPath(configuration, port.address), (connection) => {
    activity.enter();
    const session = new HandoffSession(connection, streams);
    sessions.add(session);
    void leaveAfter(session);
    return session;
  });
  handle = httpHandler({
    guard: {
      hosts: [...configuration.allowed_hosts, listen.host.toLowerCase()],
      origins: configuration.allowed_origins,
      secret: configuration.secret,
    },
    isUnix: listen.kind === "unix",
    version: VERSION,
    gateway: configuration.gateway,
    handoffSocket: handoff.path,
    backends: streams.backends,
    gateways,
    opener: streams,
    metrics,
    activity,
    health: () => ({ draining: streams.isDraining, streams: streams.count }),
  });
  const address = addressText(listen, port.address, configuration.tls_certificate !== undefined);
  log.info("companion_started", {
    address,
    handoff_socket: handoff.path,
    version: VERSION,
    threads: configuration.threads,
  });
  const parts = {
    configuration,
    log,
    backends,
    workers,
    cache,
    streams,
    port,
    handoff,
    sessions,
    activity,
    closing: undefined,
  };
  return { parts, address, idle };
}

/** @throws DataStreamError naming the setting whose folder does not work. */
async function openCache(
  { cache_folder: directory, cache_limit: limitBytes }: Configuration,
  log: Log,
): Promise<ItemCache | undefined> {
  if (limitBytes === 0) return undefined;
  const onTrouble = (error: Error): void => log.warn("cache_stopped", errorFields(error));
  try {
    return await ItemCache.open({ directory, limitBytes, onTrouble });
  } catch (error) {
    if (error instanceof DataStreamError) throw error;
    const { code = "no code" } = error as NodeJS.ErrnoException;
    throw new DataStreamError("failed_precondition", `cache_folder: ${directory} cannot be used (${code}).`, {
      details: { field: "cache_folder" },
      cause: error,
    });
  }
}

async function openPort(
  configuration: Configuration,
  handle: Parameters<typeof OnePort.listen>[0]["handle"],
): Promise<OnePort> {
  const { listen, tls_certificate: cert, tls_key: key } = configuration;
  try {
    return await OnePort.listen({
      address: listen.kind === "unix" ? { path: listen.path } : { host: listen.host, port: listen.port },
      handle,
      ...(cert !== undefined &&
        key !== undefined && { tls: { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") } }),
    });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    const reason =
      code === "EADDRINUSE" ? "is in use, perhaps by another companion" : `cannot be used (${code})`;
    throw new DataStreamError(
      code === "EADDRINUSE" ? "already_exists" : "failed_precondition",
      `listen: ${listenText(listen)} ${reason}. Use that one, or choose another address with --listen.`,
      { details: { field: "listen" }, cause: error },
    );
  }
}

function handoffPath({ handoff_socket: path }: Configuration, address: number | string): string {
  if (path !== undefined) return path;
  return typeof address === "string" ? `${address}.handoff` : join(runtimeFolder(), `${address}.sock`);
}

function addressText(listen: ListenAddress, address: number | string, isTls: boolean): string {
  if (typeof address === "string") return `unix:${address}`;
  return `${isTls ? "https" : "http"}://${listenText({ ...listen, port: address })}`;
}

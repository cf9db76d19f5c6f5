/** A companion as one object: started, drained, closed. */
import type { Log } from "../../core/log.ts";
import { assemble, type Parts } from "./assemble.ts";
import type { Configuration } from "./settings.ts";

export class Companion {
  /** Where the port listens: `http://127.0.0.1:50052`, or `unix:/path`. */
  readonly address: string;
  readonly handoffSocket: string;
  /** Resolves when nobody used the companion for as long as it was told to wait. */
  readonly idle: Promise<void>;
  readonly #parts: Parts;

  private constructor(parts: Parts, address: string, idle: Promise<void>) {
    this.#parts = parts;
    this.address = address;
    this.handoffSocket = parts.handoff.path;
    this.idle = idle;
  }

  /**
   * @throws DataStreamError naming the setting that does not work: a port in use, files that cannot be read, a socket of
   *   another companion. Nothing is left running then.
   */
  static async start(configuration: Configuration, log: Log): Promise<Companion> {
    const undo: (() => unknown)[] = [];
    try {
      const { parts, address, idle } = await assemble(configuration, log, undo);
      return new Companion(parts, address, idle);
    } catch (error) {
      for (const step of undo.toReversed()) await step();
      throw error;
    }
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#parts.streams.count;
  }

  /** Waits until no client is connected, and what they had is free again. */
  quiet(): Promise<void> {
    return this.#parts.activity.quiet();
  }

  /**
   * Stops as nicely as its clients allow: no new streams, what is ready is handed over, clients are told, and everything
   * ends when the last is gone, or after the drain time-out.
   */
  async drain(): Promise<void> {
    const { streams, port, handoff, sessions, activity, configuration, log } = this.#parts;
    log.info("companion_draining", { streams: streams.count, sessions: sessions.size });
    port.stopAccepting();
    handoff.stopAccepting();
    streams.drain();
    for (const session of sessions) session.drain();
    const finished = (async (): Promise<void> => {
      while (sessions.size > 0) await Promise.all([...sessions].map((session) => session.closed));
      await activity.quiet();
      await streams.settled();
    })();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, configuration.drain_timeout * 1000);
    });
    await Promise.race([finished, late]);
    clearTimeout(timer);
    await this.close();
  }

  /** Ends everything at once. Idempotent. */
  close(): Promise<void> {
    return (this.#parts.closing ??= closeAll(this.#parts));
  }
}

async function closeAll(parts: Parts): Promise<void> {
  const { activity, handoff, port, sessions, workers, cache, backends, log } = parts;
  activity.close();
  const ended = [...sessions].map((session) => session.closed);
  await Promise.all([handoff.close(), port.close()]);
  await Promise.all(ended);
  await activity.quiet();
  await workers.close();
  await cache?.close();
  await backends.close();
  log.info("companion_stopped");
}

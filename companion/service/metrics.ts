/** What Prometheus is told: docs/companion.md explains each name. */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { ErrorCode } from "../../core/errors.ts";
import type { ConsumerObserver } from "../handoff/session.ts";
import type { PipelineObserver } from "../pipeline/observer.ts";
import { RecentValues } from "./recent-values.ts";

/** How a stream leaves the companion. */
export type StreamKind = "handoff" | "grpc";

const QUANTILES = [0.5, 0.95, 0.99];
const WAIT_BUCKETS = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30];

/** Values that are looked up when somebody asks. */
export interface LiveValues {
  /** Bytes of received messages that are in memory. */
  readonly messageBytes: () => number;
  /** Slots that consumers hold, and slots of all rings. */
  readonly slots: () => { readonly held: number; readonly all: number };
  readonly draining: () => boolean;
}

export class Metrics {
  readonly registry: Registry = new Registry();
  readonly #streams = this.#gauge("streams", "Streams that are open.", ["kind"]);
  readonly #opened = this.#counter("streams_opened_total", "Streams that were opened.", ["kind"]);
  readonly #failed = this.#counter("streams_failed_total", "Streams that ended in an error, by its code.", [
    "kind",
    "code",
  ]);
  readonly #ready = new Histogram({
    name: nameOf("data_ready_seconds"),
    help: "From asking for a batch to having it, as consumers saw it.",
    labelNames: ["rank"],
    buckets: WAIT_BUCKETS,
    registers: [this.registry],
  });
  readonly #recent = new Map<string, RecentValues>();
  readonly #waited = this.#counter("consumer_wait_seconds_total", "Time in which a consumer had no batch.", [
    "rank",
  ]);
  readonly #worked = this.#counter(
    "consumer_work_seconds_total",
    "Time in which a consumer had a batch to work on.",
    ["rank"],
  );
  readonly #batches = this.#counter("batches_total", "Batches that were delivered.", ["rank"]);
  readonly #items = this.#counter("items_total", "Items in them.", ["rank"]);
  readonly #bytes = this.#counter("item_bytes_total", "Bytes of those items as they came, before decoding.", [
    "rank",
  ]);
  readonly #received = this.#counter("received_bytes_total", "Bytes of the messages that arrived.");
  readonly #requests = this.#counter("gateway_requests_total", "Requests for batches.");
  readonly #reconnects = this.#counter(
    "gateway_reconnects_total",
    "Those that were made again within an epoch.",
  );
  readonly #refetched = this.#counter(
    "refetched_batches_total",
    "Batches asked for again, since items did not fit their hashes.",
  );
  readonly #undecodable = this.#counter("undecodable_items_total", "Items that could not be decoded.");
  readonly #slotWait = this.#counter(
    "slot_wait_seconds_total",
    "Time in which a received batch waited for a free slot.",
  );
  readonly #decoding = this.#counter(
    "decode_seconds_total",
    "Time from a free slot to a verified and decoded batch.",
  );
  readonly #publishing = this.#counter(
    "publish_seconds_total",
    "Time in which batches were copied to devices.",
  );
  readonly #allHeld = this.#counter(
    "all_slots_held_total",
    "How often every slot of a ring came to be handed over: the consumer is the slower side.",
    ["rank"],
  );
  readonly #cacheHits = this.#counter("cache_hits_total", "Items that came from the local cache.");
  readonly #cacheMisses = this.#counter("cache_misses_total", "Items that the local cache did not have.");

  constructor(live: LiveValues) {
    const quantiles = this.#gauge(
      "data_ready_quantile_seconds",
      "The same over each rank's latest batches, as quantiles.",
      ["rank", "quantile"],
      () => {
        for (const [rank, recent] of this.#recent)
          for (const [i, value] of recent.quantiles(QUANTILES).entries())
            quantiles.set({ rank, quantile: String(QUANTILES[i]) }, value);
      },
    );
    this.#live("message_bytes", "Memory of received messages.", () => live.messageBytes());
    this.#live("slots_held", "Slots that consumers hold.", () => live.slots().held);
    this.#live("slots", "Slots of all rings.", () => live.slots().all);
    this.#live("draining", "1 while the companion is stopping.", () => (live.draining() ? 1 : 0));
  }

  streamOpened(kind: StreamKind): void {
    this.#opened.inc({ kind });
    this.#streams.inc({ kind });
  }

  streamClosed(kind: StreamKind): void {
    this.#streams.dec({ kind });
  }

  streamFailed(kind: StreamKind, code: ErrorCode): void {
    this.#failed.inc({ kind, code });
  }

  /** @param hasCache whether what arrives was looked for in the cache before. */
  pipelineObserver(rank: number, hasCache: boolean): PipelineObserver {
    const labels = { rank: String(rank) };
    return {
      requested: (again) => {
        this.#requests.inc();
        if (again) this.#reconnects.inc();
      },
      received: (items, bytes) => {
        this.#received.inc(bytes);
        if (hasCache) this.#cacheMisses.inc(items);
      },
      cached: (items) => this.#cacheHits.inc(items),
      refetched: () => this.#refetched.inc(),
      waitedForSlot: (seconds) => this.#slotWait.inc(seconds),
      decoded: (seconds) => this.#decoding.inc(seconds),
      published: (seconds) => this.#publishing.inc(seconds),
      undecodable: (items) => this.#undecodable.inc(items),
      delivered: (items, bytes) => {
        this.#batches.inc(labels);
        this.#items.inc(labels, items);
        this.#bytes.inc(labels, bytes);
      },
    };
  }

  consumerObserver(rank: number): ConsumerObserver {
    const labels = { rank: String(rank) };
    const recent = this.#recent.get(labels.rank) ?? new RecentValues();
    this.#recent.set(labels.rank, recent);
    return {
      worked: (seconds) => this.#worked.inc(labels, seconds),
      dataReady: (seconds) => {
        this.#waited.inc(labels, seconds);
        this.#ready.observe(labels, seconds);
        recent.add(seconds);
      },
      holds: (slots, of) => {
        if (slots === of && of > 0) this.#allHeld.inc(labels);
      },
    };
  }

  #counter<T extends string = never>(name: string, help: string, labelNames: readonly T[] = []): Counter<T> {
    return new Counter({ name: nameOf(name), help, labelNames, registers: [this.registry] });
  }

  #gauge<T extends string = never>(
    name: string,
    help: string,
    labelNames: readonly T[] = [],
    collect: () => void = () => undefined,
  ): Gauge<T> {
    return new Gauge({ name: nameOf(name), help, labelNames, registers: [this.registry], collect });
  }

  #live(name: string, help: string, value: () => number): void {
    const gauge: Gauge = this.#gauge(name, help, [], () => gauge.set(value()));
  }
}

function nameOf(name: string): string {
  return `cyxcloud_companion_${name}`;
}

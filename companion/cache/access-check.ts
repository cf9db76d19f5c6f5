import { sleep, type Clock } from "../../client/backoff.ts";
import { path } from "../../client/http.ts";
import type { SourceContext } from "../../client/stream/source.ts";
import { DataStreamError, type ErrorCode } from "../../core/errors.ts";
import { ACCESS_CHECK_MS, ACCESS_PATIENCE_MS } from "../../core/limits.ts";

/** Asks the gateway. @throws DataStreamError as it answered, `unavailable` where it does not. */
export type AskGateway = (context: SourceContext, signal: AbortSignal) => Promise<void>;

/** What ends a stream; everything else is a gateway that cannot be asked now. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "unauthenticated",
  "permission_denied",
  "not_found",
]);

/**
 * Whether the token of a stream still holds while its batches come from the cache: asked at the beginning of each epoch,
 * before any of it is given out, and then every `ACCESS_CHECK_MS`. A gateway that does not answer changes nothing. For one
 * stream.
 */
export class AccessCheck {
  readonly #ask: AskGateway;
  readonly #clock: Clock;
  #epoch: string | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #refusal: DataStreamError | undefined;

  constructor(ask: AskGateway = askForDescription, clock: Clock = { now: () => performance.now(), sleep }) {
    this.#ask = ask;
    this.#clock = clock;
  }

  /** The gateway answered a request for batches of the epoch: the token held. */
  granted(epoch: string): void {
    this.#epoch = epoch;
    this.#askedAt = this.#clock.now();
  }

  /**
   * Call before a batch of the epoch is given out. Waits only where the epoch is new, and `ACCESS_PATIENCE_MS` at most.
   * @throws DataStreamError of the gateway.
   */
  async require(epoch: string, context: SourceContext): Promise<void> {
    const isNew = this.#epoch !== epoch;
    if (isNew || this.#clock.now() - this.#askedAt >= ACCESS_CHECK_MS) {
      this.granted(epoch);
      const asked = this.#question(context);
      if (isNew) await asked;
    }
    if (this.#refusal !== undefined) throw this.#refusal;
  }

  async #question(context: SourceContext): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([context.signal, over.signal]);
    try {
      await Promise.race([this.#ask(context, signal), this.#clock.sleep(ACCESS_PATIENCE_MS, signal)]);
    } catch (thrown) {
      const error = DataStreamError.from(thrown);
      if (REFUSALS.has(error.code)) this.#refusal = error;
    } finally {
      over.abort();
    }
  }
}

async function askForDescription(
  { gateway, dataset, accessToken }: SourceContext,
  signal: AbortSignal,
): Promise<void> {
  const route = path("api", "datasets", dataset.info.id);
  const { body } = await gateway.send("GET", route, { accessToken, signal });
  await body?.cancel();
}

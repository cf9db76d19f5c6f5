/** Receipts of streams: the same for REST, the datastream service, and sessions that are forgotten. */
import { isUuid } from "../core/dataset/name.ts";
import { DataStreamError, invalidArgument } from "../core/errors.ts";
import { type Receipt, RECEIPT_TYPE, type SessionReceipt, unknownStream } from "../core/stream/receipt.ts";
import type { Envelope } from "../core/trust/dsse.ts";
import { statementBytes } from "../core/trust/statement.ts";
import { fromBase64 } from "../core/base64.ts";
import { findReceipt, keepReceipt } from "../catalog/receipts.ts";
import { ConnectionGate } from "../storage/connections.ts";
import { authorize, type Caller } from "./access.ts";
import { sessionPort } from "./datastream/stream/session-port.ts";
import { type Deps, depsFrom } from "./deps.ts";
import type { Env } from "./env.ts";
import { errorFields } from "./log.ts";

/**
 * The receipt of one of the caller's own streams, as of now, or as of when its session was forgotten.
 * A user who names the version by its id gets it also when the version is deleted, or no longer shared.
 * @throws `invalid_argument` without a stream id; `not_found` for a stream that is not the caller's own; what
 *   `authorize` throws.
 */
export async function getReceipt(
  { env, deps }: { readonly env: Pick<Env, "STREAM_SESSIONS">; readonly deps: Deps },
  caller: Caller,
  datasetRef: string,
  streamId: string,
): Promise<Envelope> {
  if (streamId === "") throw invalidArgument("stream_id", "name the stream, as its batches do.");
  const name = { ...(await ownDataset(deps, caller, datasetRef)), streamId };
  const running = await sessionPort(env.STREAM_SESSIONS, name, new ConnectionGate()).receipt();
  if (running !== undefined) return seal(deps, running);
  const kept = await findReceipt(deps.sql, name);
  if (kept === undefined) throw unknownStream();
  const [{ keyid }] = kept.signatures;
  if (deps.tokens.publishes(keyid)) return kept;
  // Its key is published no longer: the gateway vouches anew for what it kept.
  return deps.tokens.signStatement(kept.payloadType, fromBase64(kept.payload) as Uint8Array);
}

/** Keeps the receipt of a session that is about to be forgotten. */
export async function keepSessionReceipt(env: Env, receipt: SessionReceipt): Promise<void> {
  const deps = await depsFrom(env);
  const name = {
    userId: receipt.user_id,
    datasetId: String(receipt.parameters["dataset_id"]),
    streamId: receipt.stream_id,
  };
  try {
    await keepReceipt(deps.sql, name, receipt.started_at, await seal(deps, receipt));
  } catch (error) {
    deps.log.warn("receipt_not_kept", { stream_id: receipt.stream_id, ...errorFields(error) });
    throw error;
  }
}

function seal({ tokens, clock, config }: Deps, receipt: SessionReceipt): Promise<Envelope> {
  const whole: Receipt = {
    ...receipt,
    issuer: config.issuer,
    issued_at: new Date(clock.now()).toISOString(),
  };
  return tokens.signStatement(RECEIPT_TYPE, statementBytes(whole));
}

async function ownDataset(
  deps: Deps,
  caller: Caller,
  reference: string,
): Promise<{ readonly userId: string; readonly datasetId: string }> {
  try {
    const { dataset, userId } = await authorize(deps, caller, reference, "describe");
    return { userId, datasetId: dataset.id };
  } catch (error) {
    const isGone = error instanceof DataStreamError && error.code === "not_found";
    if (!isGone || caller.kind !== "user" || !isUuid(reference)) throw error;
    return { userId: caller.userId, datasetId: reference };
  }
}

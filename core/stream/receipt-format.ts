/** Reading a receipt's payload: everything of the right type and in its own limits, and nothing else. */
import { isUuid } from "../dataset/name.ts";
import { invalidArgument } from "../errors.ts";
import { hasExactly } from "../trust/dsse.ts";
import { parseCanonical } from "../trust/statement.ts";
import type { Receipt } from "./receipt.ts";

type Check = (value: unknown) => boolean;

/**
 * NOT checked: whether any of it is true, which is the business of receipt-verify.ts.
 * @throws `invalid_argument` for anything but the canonical JSON of a `Receipt`.
 */
export function parseReceipt(payload: Uint8Array): Receipt {
  const value = parseCanonical(payload);
  if (!isReceipt(value))
    throw invalidArgument("receipt", "is not a receipt. See docs/formats/receipt-v1.md.");
  return value as Receipt;
}

const text: Check = (value) => typeof value === "string" && value.length <= 1024;
const uuid: Check = (value) => typeof value === "string" && isUuid(value);
const hash: Check = (value) => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
const base64: Check = (value) => typeof value === "string" && /^[A-Za-z0-9+/]{1,88}={0,2}$/.test(value);
const time: Check = (value) =>
  typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value);

function whole(least: number): Check {
  return (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

function orNull(check: Check): Check {
  return (value) => value === null || check(value);
}

function list(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

function members(checks: Readonly<Record<string, Check>>): Check {
  const names = Object.keys(checks);
  return (value) => hasExactly(value, names) && names.every((name) => (checks[name] as Check)(value[name]));
}

const isReceipt = members({
  format: (value) => value === 1,
  issuer: text,
  issued_at: time,
  user_id: uuid,
  stream_id: text,
  started_at: time,
  parameters: (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  item_count: whole(0),
  omitted_leases: whole(0),
  segments: list(
    members({
      generation: whole(1),
      epoch: whole(0),
      rank: whole(0),
      world_size: whole(1),
      start_index: whole(0),
      prepared_batches: whole(0),
      prepared_head: orNull(hash),
      acknowledged_batches: whole(0),
      acknowledged_head: orNull(hash),
      leases: list(
        members({
          lease: whole(1),
          token_id: uuid,
          node_id: orNull(uuid),
          attached_at: time,
          first_batch: whole(0),
          acknowledgement: orNull(
            members({
              batches: whole(1),
              head: hash,
              at: time,
              void: orNull(members({ from_batch: whole(0), by_lease: whole(1) })),
              consumer: orNull(members({ public_key: base64, signature: base64, node_id: orNull(uuid) })),
            }),
          ),
        }),
      ),
    }),
  ),
});

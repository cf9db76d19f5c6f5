/** Statements about a dataset version as they come in: an envelope, its key's signature, and that version exactly. */
import { invalidArgument } from "../errors.ts";
import { type DatasetStatement, differingField } from "./dataset-statement.ts";
import { type Envelope, keyOf, openEnvelope, parseEnvelope } from "./dsse.ts";

/** One type of statement about a dataset version. */
export interface StatementKind<S extends DatasetStatement> {
  /** Of the envelope's payload. */
  readonly type: string;
  /** For messages, for example "an attestation". */
  readonly name: string;
  /** Undefined for anything but the canonical bytes of such a statement. */
  readonly parse: (payload: Uint8Array) => S | undefined;
}

export interface SignedStatement<S extends DatasetStatement> {
  readonly envelope: Envelope;
  /** The key that its keyid spells, which signed it. Whose it is, is NOT checked. */
  readonly publicKey: Uint8Array;
  readonly statement: S;
}

/**
 * Opens and checks an envelope from outside.
 * @param expected what the statement has to say of the version that it is presented for.
 * @throws `invalid_argument` for an envelope that is malformed, not of this type or not signed by its key, or whose
 *   statement is not canonical or about another version; then `statement_field` names the first difference.
 */
export function openStatement<S extends DatasetStatement>(
  value: unknown,
  { type, name, parse }: StatementKind<S>,
  expected: DatasetStatement,
): SignedStatement<S> {
  const envelope = parseEnvelope(value);
  const publicKey = keyOf(envelope);
  if (publicKey === undefined)
    throw invalidArgument("envelope", "keyid must be the public key as 64 lowercase hexadecimal digits.");
  const payload = openEnvelope(envelope, type, publicKey);
  if (payload === undefined)
    throw invalidArgument("envelope", `must be of type ${type} and signed by the key that keyid names.`);
  const statement = parse(payload);
  if (statement === undefined)
    throw invalidArgument("envelope", `its payload is not the canonical JSON of ${name}.`);
  const differs = differingField(statement, expected);
  if (differs === undefined) return { envelope, publicKey, statement };
  throw invalidArgument(
    "envelope",
    `its statement is about another version: ${differs} must be ${JSON.stringify(expected[differs])}. Sign this version.`,
    { statement_field: differs },
  );
}

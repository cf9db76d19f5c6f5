/** Registering signing keys and taking signatures over dataset versions. The service only ever verifies. */
import { insertSignature, type EvidenceRow } from "../catalog/evidence.ts";
import { insertSigningKey, type SigningKeyRow } from "../catalog/signing-keys.ts";
import type { DatasetRow } from "../catalog/datasets.ts";
import { toHex } from "../core/bytes.ts";
import { DataStreamError } from "../core/errors.ts";
import type { Clock, Sql } from "../core/ports.ts";
import {
  DATASET_STATEMENT_TYPE,
  type DatasetStatement,
  parseDatasetStatement,
} from "../core/trust/dataset-statement.ts";
import { parseEnvelope } from "../core/trust/dsse.ts";
import { checkKeyProof, type KeyChallenge } from "../core/trust/key-proof.ts";
import { parsePublicKey } from "../core/trust/known-keys.ts";
import { openStatement, type StatementKind } from "../core/trust/signed-statement.ts";

const DATASET_STATEMENT: StatementKind<DatasetStatement> = {
  type: DATASET_STATEMENT_TYPE,
  name: "a dataset statement",
  parse: parseDatasetStatement,
};

interface ChallengeDeps {
  readonly clock: Clock;
  readonly config: { readonly issuer: string };
}

/** What a user signs now with a key that is to be registered. Nothing is stored: the proof carries it back. */
export function keyChallenge({ clock, config }: ChallengeDeps, userId: string): KeyChallenge {
  return { audience: config.issuer, user: userId, issued_at: Math.floor(clock.now() / 1000) };
}

/**
 * @param request.proof the envelope of a `signKeyProof` for the purpose `signing-key`.
 * @throws `invalid_argument` for an unsound key or proof, and what `insertSigningKey` throws.
 */
export async function registerSigningKey(
  deps: ChallengeDeps & { readonly sql: Sql },
  userId: string,
  request: { readonly name: string; readonly publicKey: string; readonly proof: unknown },
): Promise<SigningKeyRow> {
  const publicKey = parsePublicKey(request.publicKey, "public_key");
  const proof = parseEnvelope(request.proof, "proof");
  checkKeyProof(proof, publicKey, keyChallenge(deps, userId), "signing-key");
  return insertSigningKey(deps.sql, { userId, name: request.name, publicKey });
}

/** What a signature on this version has to say. */
export function statementOf(dataset: DatasetRow): DatasetStatement {
  return {
    owner: dataset.ownerName,
    name: dataset.name,
    version: dataset.version,
    parent: dataset.parentId,
    content_hash: toHex(dataset.contentHash),
    schema_hash: toHex(dataset.schemaHash),
  };
}

/**
 * Verifies a signature by one of the user's keys over the statement of this very version, and records it.
 * @throws what `openStatement` throws; `permission_denied` for a key that is not the user's.
 */
export async function addSignature(
  sql: Sql,
  userId: string,
  dataset: DatasetRow,
  value: unknown,
): Promise<EvidenceRow> {
  const { envelope, publicKey } = openStatement(value, DATASET_STATEMENT, statementOf(dataset));
  const recorded = await insertSignature(sql, { datasetId: dataset.id, userId, publicKey, envelope });
  if (recorded !== undefined) return recorded;
  throw new DataStreamError(
    "permission_denied",
    "keyid: the key is not registered as yours, or was revoked. Create one with: cyxcloud key create",
    { details: { field: "keyid" } },
  );
}

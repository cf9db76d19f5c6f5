/**
 * Who may do what with which dataset version. Every surface asks here, and nowhere else.
 *
 * A caller who may not see a dataset gets the answer of one who asked for a dataset that does not exist:
 * the same code and the same words. So access comes before any other property of the dataset is looked at.
 */
import { type Action, type Scope, tokenMay, userMay } from "../core/access/scopes.ts";
import type { Confirmation, TokenClaims } from "../core/access/token-claims.ts";
import { equalBytes } from "../core/bytes.ts";
import { type DatasetReference, parseDatasetReference } from "../core/dataset/name.ts";
import { trustFor } from "../core/access/trust.ts";
import { gate, parseTrustLevel, type TrustLevel } from "../core/dataset/trust.ts";
import { DataStreamError } from "../core/errors.ts";
import type { Clock, Sql } from "../core/ports.ts";
import { type DatasetRow, findDataset } from "../catalog/datasets.ts";
import { findLiveToken, type LiveToken } from "../catalog/tokens.ts";
import { authenticate, isApiKey, tokenCredential, unauthenticated } from "./auth.ts";
import type { Scheme } from "./challenge.ts";
import { type IncomingRequest, type Presentation, presentationOf } from "./presentation.ts";
import { type ProofLedger, provePossession } from "./proofs.ts";
import { invalidToken, tokenHash, type TokenSigner } from "./tokens.ts";

export interface AccessDeps {
  readonly sql: Sql;
  readonly proofs: ProofLedger;
  readonly tokens: TokenSigner;
  readonly clock: Clock;
}

/** Who asks: a user by API key, or the holder of an access token, which is checked with the dataset. */
export type Caller =
  | { readonly kind: "user"; readonly userId: string }
  | { readonly kind: "token"; readonly token: string; readonly presentation: Presentation };

export interface Access {
  readonly dataset: DatasetRow;
  /** In whose name: the user, or the issuer of the token. */
  readonly userId: string;
  /** The level that the gate compares, as it is for that user. */
  readonly trustLevel: TrustLevel;
  /** Undefined for a user with an API key. */
  readonly token:
    | {
        readonly id: string;
        readonly scopes: readonly Scope[];
        readonly expiresAt: Date;
        /** The training node that it is bound to, and that proved itself. */
        readonly nodeId: string | null;
        /** What that node proved. */
        readonly confirmation: Confirmation | undefined;
      }
    | undefined;
}

/** What a stream may rely on from its first request on. */
export interface StreamAccess {
  readonly dataset: DatasetRow;
  /** Id of the user who issued the token. */
  readonly issuedBy: string;
  readonly tokenId: string;
  /** The training node that the token is bound to, and that proved itself. */
  readonly nodeId: string | null;
  /** What that node proved. */
  readonly confirmation: Confirmation | undefined;
  readonly expiresAt: Date;
  readonly trustLevel: TrustLevel;
  /** What the caller accepts; it has to hold for as long as the stream runs. */
  readonly maxTrustLevel: TrustLevel;
}

/**
 * @param accessToken the token of a message's own field; where it is empty, the `Authorization` header counts.
 * @throws `unauthenticated` without a valid API key and without anything that could be a token.
 */
export async function callerFrom(
  sql: Sql,
  request: IncomingRequest,
  accessToken: string = "",
): Promise<Caller> {
  const isInMessage = accessToken !== "";
  const token = isInMessage ? accessToken : tokenCredential(request.headers);
  if (token === undefined) throw unauthenticated();
  if (isInMessage || !isApiKey(token))
    return { kind: "token", token, presentation: presentationOf(request, isInMessage) };
  return { kind: "user", userId: (await authenticate(sql, request.headers)).id };
}

/**
 * Finds the dataset version that `reference` means to the caller, if the caller may do `action` with it.
 * @throws `invalid_argument` for a malformed reference; `unauthenticated` for a bad token; for a dataset that does
 *   not exist or is out of reach `not_found` to users, `permission_denied` to holders of tokens.
 */
export async function authorize(
  deps: AccessDeps,
  caller: Caller,
  reference: string,
  action: Action,
): Promise<Access> {
  const wanted = parseDatasetReference(reference);
  if (caller.kind === "token") return authorizeToken(deps, caller, wanted, action);
  const found = await findDataset(deps.sql, caller.userId, wanted);
  if (found === undefined) throw outOfReach();
  const { dataset, standing } = found;
  if (!userMay(action, standing)) throw notPermitted(action);
  return {
    dataset,
    userId: caller.userId,
    trustLevel: trustFor(dataset, caller.userId).effective,
    token: undefined,
  };
}

/**
 * All gates before the first byte of a stream: the token, what it opens, its scope, its issuer's rights, trust.
 * @param request.maxTrustLevel as on the wire, unchecked.
 * @throws what `authorize` throws; `permission_denied` naming both levels when the dataset is not trusted enough.
 */
export async function authorizeStream(
  deps: AccessDeps,
  request: {
    readonly datasetRef: string;
    readonly token: string;
    readonly presentation: Presentation;
    readonly maxTrustLevel: number;
  },
): Promise<StreamAccess> {
  const maxTrustLevel = parseTrustLevel(request.maxTrustLevel);
  const wanted = parseDatasetReference(request.datasetRef);
  const { dataset, userId, trustLevel, token } = await authorizeToken(deps, request, wanted, "stream");
  gate(trustLevel, maxTrustLevel);
  const { id: tokenId, nodeId, confirmation, expiresAt } = token;
  return { dataset, issuedBy: userId, tokenId, nodeId, confirmation, expiresAt, trustLevel, maxTrustLevel };
}

/**
 * A token that is signed, unexpired, unrevoked, and whose issuer still has access to its dataset. NOT checked: that
 * its holder is the training node that it is bound to.
 * @param scheme as which the token came.
 * @throws `unauthenticated` for anything else, in one form of words; a lost share is told as `permission_denied`.
 */
export async function inspectToken(
  deps: AccessDeps,
  token: string,
  scheme?: Scheme,
): Promise<LiveToken & Pick<TokenClaims, "confirmation">> {
  const claims = await deps.tokens.verify(token, deps.clock.now(), scheme);
  const live = await findLiveToken(deps.sql, await tokenHash(token));
  if (live === undefined || live.id !== claims.id || live.dataset.id !== claims.datasetId)
    throw invalidToken(scheme);
  const { confirmation } = claims;
  if ((confirmation === undefined) !== (live.nodeId === null)) throw invalidToken(scheme);
  if (!userMay("describe", live.standing)) throw notOpened();
  return { ...live, ...(confirmation && { confirmation }) };
}

async function authorizeToken(
  deps: AccessDeps,
  { token, presentation }: { readonly token: string; readonly presentation: Presentation },
  wanted: DatasetReference,
  action: Action,
): Promise<Access & { readonly token: NonNullable<Access["token"]> }> {
  const live = await inspectToken(deps, token, presentation.scheme);
  const { id, dataset, standing, issuedBy, scopes, expiresAt, nodeId, confirmation } = live;
  await provePossession(deps, token, confirmation, presentation);
  if (!isMeant(wanted, dataset)) throw notOpened();
  if (!tokenMay(action, scopes) || !userMay(action, standing)) throw notPermitted(action);
  return {
    dataset,
    userId: issuedBy,
    trustLevel: trustFor(dataset, issuedBy).effective,
    token: { id, scopes, expiresAt, nodeId, confirmation },
  };
}

/** A token opens one version, so a name without a version means that one, not the newest. */
function isMeant(wanted: DatasetReference, dataset: DatasetRow): boolean {
  return (
    (wanted.id === undefined || wanted.id === dataset.id) &&
    (wanted.name === undefined || wanted.name === dataset.name) &&
    (wanted.owner === undefined || wanted.owner === dataset.ownerName) &&
    (wanted.version === undefined || wanted.version === dataset.version) &&
    (wanted.contentHash === undefined || equalBytes(wanted.contentHash, dataset.contentHash))
  );
}

function outOfReach(): DataStreamError {
  return new DataStreamError(
    "not_found",
    "dataset_id: there is no such dataset, or it is not shared with you.",
    {
      details: { field: "dataset_id" },
    },
  );
}

function notOpened(): DataStreamError {
  return new DataStreamError(
    "permission_denied",
    "access_token: the access token does not open this dataset.",
    {
      details: { field: "access_token" },
    },
  );
}

/** Only for callers who know the dataset. */
function notPermitted(action: Action): DataStreamError {
  return new DataStreamError(
    "permission_denied",
    `You have access to this dataset, but not the right to ${action}.`,
    {
      details: { needs: action },
    },
  );
}

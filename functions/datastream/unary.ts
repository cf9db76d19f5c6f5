/** The methods of DataStreamService that answer once. Users are known by the API key of the `Authorization` header. */
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { fromBase64 } from "../../core/base64.ts";
import { canonicalJson } from "../../core/canonical-json.ts";
import { type DataStreamService, type TrustLevel, VerifyDepth as WireDepth } from "../../proto/index.ts";
import { trustFor } from "../../core/access/trust.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { VerificationReport, VerifyDepth } from "../../durable-objects/jobs/verify-dataset.ts";
import { authorize, callerFrom } from "../access.ts";
import { issueToken, withdrawToken } from "../access-tokens.ts";
import { authenticate } from "../auth.ts";
import { verifyDataset } from "../dataset-work.ts";
import type { Deps } from "../deps.ts";
import type { Env } from "../env.ts";
import { openInvocation } from "../invocation.ts";
import { jobStarter } from "../jobs.ts";
import type { IncomingRequest } from "../presentation.ts";
import { getReceipt } from "../receipts.ts";
import { toConnectError } from "./connect-error.ts";

/** One call's adapters. */
export interface UnaryCall {
  readonly env: Env;
  readonly deps: Deps;
  readonly request: IncomingRequest;
  readonly waitUntil: (work: Promise<unknown>) => void;
}

export type UnaryMethods = Pick<
  ServiceImpl<typeof DataStreamService>,
  "getDatasetInfo" | "createAccessToken" | "revokeAccessToken" | "verifyDataset" | "getReceipt"
>;

const FILE_COUNT_MAX = 2 ** 31 - 1;

/** @param callOf what the router knows about the call; every failure leaves as a `ConnectError`. */
export function unaryMethods(callOf: (context: HandlerContext) => UnaryCall): UnaryMethods {
  return {
    getDatasetInfo: (request, context) =>
      mapped(async () => {
        const { deps, request: incoming } = callOf(context);
        const caller = await callerFrom(deps.sql, incoming, request.accessToken);
        const { dataset, userId } = await authorize(deps, caller, request.datasetId, "describe");
        return {
          id: dataset.id,
          name: dataset.name,
          ownerId: dataset.ownerId,
          totalSizeBytes: BigInt(dataset.totalSizeBytes),
          fileCount: Math.min(dataset.fileCount, FILE_COUNT_MAX),
          contentHash: dataset.contentHash,
          trustLevel: trustFor(dataset, userId).displayed as TrustLevel,
          schemaJson: canonicalJson(dataset.schema, "schema"),
          version: dataset.version,
          fileCountExact: BigInt(dataset.fileCount),
          manifestSizeBytes: BigInt(dataset.manifestSizeBytes),
          schemaHash: dataset.schemaHash,
          maxItemBytes: BigInt(dataset.maxItemBytes),
          description: dataset.description,
          parentId: dataset.parentId ?? "",
        };
      }),

    createAccessToken: (request, context) =>
      mapped(async () => {
        const { deps } = callOf(context);
        const user = await authenticate(deps.sql, context.requestHeader);
        const issued = await issueToken(deps, user.id, request.datasetId, {
          scopes: request.scopes,
          ttlSeconds: Number(request.ttlSeconds),
          node: request.nodeId,
        });
        return {
          token: issued.token,
          expiresAt: BigInt(issued.expiresAt.getTime() / 1000),
          scopes: [...issued.scopes],
          id: issued.id,
          datasetId: issued.dataset.id,
        };
      }),

    revokeAccessToken: (request, context) =>
      mapped(async () => {
        const { deps } = callOf(context);
        const user = await authenticate(deps.sql, context.requestHeader);
        await withdrawToken(deps, user.id, request.tokenId);
        return {};
      }),

    verifyDataset: (request, context) =>
      mapped(async () => {
        const { env, deps, waitUntil } = callOf(context);
        const user = await authenticate(deps.sql, context.requestHeader);
        const caller = { kind: "user", userId: user.id } as const;
        const { dataset } = await authorize(deps, caller, request.datasetId, "describe");
        const outcome = await verifyDataset(
          { deps, invocation: openInvocation(deps, waitUntil), startJob: jobStarter(env) },
          user.id,
          dataset,
          { depth: depthOf(request.depth), check_public_registry: request.checkPublicRegistry },
        );
        return "jobId" in outcome
          ? { datasetId: dataset.id, jobId: outcome.jobId }
          : verificationResult(outcome.report);
      }),

    getReceipt: (request, context) =>
      mapped(async () => {
        const { env, deps, request: incoming } = callOf(context);
        const caller = await callerFrom(deps.sql, incoming, request.accessToken);
        const { payloadType, payload, signatures } = await getReceipt(
          { env, deps },
          caller,
          request.datasetId,
          request.streamId,
        );
        return {
          payloadType,
          payload: fromBase64(payload) as Uint8Array,
          signatures: signatures.map(({ keyid, sig }) => ({
            keyId: keyid,
            signature: fromBase64(sig) as Uint8Array,
          })),
        };
      }),
  };
}

async function mapped<T>(answer: () => Promise<T>): Promise<T> {
  try {
    return await answer();
  } catch (thrown) {
    throw toConnectError(thrown);
  }
}

function depthOf(depth: WireDepth): VerifyDepth {
  switch (depth) {
    case WireDepth.VERIFY_STORED_HASHES:
      return "stored";
    case WireDepth.VERIFY_MANIFEST:
      return "manifest";
    case WireDepth.VERIFY_FULL_READ:
      return "full";
    default:
      throw invalidArgument(
        "depth",
        `${String(depth)} is unknown. Use 0 (stored hashes), 1 (manifest) or 2 (full read).`,
      );
  }
}

function verificationResult(report: VerificationReport): Awaited<ReturnType<UnaryMethods["verifyDataset"]>> {
  const match = report.public_match;
  return {
    datasetId: report.dataset_id,
    manifestValid: report.manifest_valid,
    allFilesValid: report.all_files_valid,
    files: report.files.map((file) => ({
      path: file.path,
      expectedHash: file.expected_hash,
      actualHash: file.actual_hash,
      valid: false,
    })),
    ...(match && {
      publicMatch: { name: match.name, version: match.version, verifiedBy: [...match.verified_by] },
    }),
    verifiedAt: BigInt(Math.floor(Date.parse(report.verified_at) / 1000)),
    filesChecked: BigInt(report.files_checked),
    filesFailed: BigInt(report.files_failed),
  };
}

/** What speaks for a dataset version, and adding a signature to it. */
import { createRoute, z } from "@hono/zod-openapi";
import { type EvidenceRow, listEvidence } from "../../catalog/evidence.ts";
import { toHex } from "../../core/bytes.ts";
import { type TRUST_LABELS, trustLabel } from "../../core/dataset/trust.ts";
import { LIST_MAX_ENTRIES } from "../../core/limits.ts";
import { DATASET_STATEMENT_TYPE } from "../../core/trust/dataset-statement.ts";
import { addSignature } from "../signatures.ts";
import { type Api, needsApiKey } from "./app.ts";
import { decodePosition, positionCursor } from "./cursor.ts";
import { DatasetParams, TrustLabel, TrustLevel } from "./dataset-schemas.ts";
import { accessOf } from "./datasets.ts";
import { problems } from "./problem.ts";
import { Cursor, jsonAnswer, jsonBody, pageLimit, Time, Uuid } from "./schemas.ts";
import { EnvelopeSchema, PublicKey, type ShownEnvelope } from "./trust-schemas.ts";

/** Evidence as REST shows it. */
export interface ShownEvidence {
  id: string;
  kind: EvidenceRow["kind"];
  public_key: string | null;
  envelope: ShownEnvelope | null;
  created_by: string | null;
  created_at: string;
  expires_at: string | null;
  withdrawn_at: string | null;
  trust_level: number;
  trust: (typeof TRUST_LABELS)[number];
}

export const Evidence: z.ZodType<ShownEvidence> = z
  .object({
    id: Uuid,
    kind: z.enum(["signature", "registry", "attestation"]),
    public_key: PublicKey.nullable().openapi({ description: "Whose statement it is" }),
    envelope: EnvelopeSchema.nullable().openapi({
      description: "Verify it yourself against keys that you know",
    }),
    created_by: z.string().nullable().openapi({ description: "The user who brought it", example: "ada" }),
    created_at: Time,
    expires_at: Time.nullable(),
    withdrawn_at: Time.nullable().openapi({ description: "When an attestation was taken back" }),
    trust_level: TrustLevel.openapi({ description: "What it gives in your eyes now; 4: nothing" }),
    trust: TrustLabel,
  })
  .openapi("Evidence");

const signRoute = createRoute({
  method: "post",
  path: "/api/datasets/{ref}/signatures",
  tags: ["keys"],
  summary: "Add a signature to a dataset version",
  description:
    `A DSSE envelope of type ${DATASET_STATEMENT_TYPE} by a key that you registered. Its statement has to be about ` +
    "this very version: owner, name, version, parent, content and schema. Whoever lists the key as known then trusts " +
    "the version at level 1.",
  ...needsApiKey,
  request: {
    params: DatasetParams,
    body: jsonBody(z.strictObject({ envelope: EnvelopeSchema }).openapi("AddSignature")),
  },
  responses: { 201: jsonAnswer(Evidence, "Recorded"), ...problems(400, 401, 403, 404, 409, 413, 415) },
});

const evidenceRoute = createRoute({
  method: "get",
  path: "/api/datasets/{ref}/evidence",
  tags: ["keys"],
  summary: "List what speaks for a dataset version",
  description:
    "Signatures, registry matches and attestations, oldest first, also those that do not count for you.",
  security: [{ api_key: [] }, { access_token: [] }],
  request: {
    params: DatasetParams,
    query: z.strictObject({ cursor: Cursor.optional(), limit: pageLimit(LIST_MAX_ENTRIES) }),
  },
  responses: {
    200: jsonAnswer(
      z.object({ evidence: z.array(Evidence), next_cursor: Cursor.nullable() }).openapi("EvidenceList"),
      "One page",
    ),
    ...problems(400, 401, 403, 404),
  },
});

export function registerSignatures(api: Api): void {
  api.openapi(signRoute, async (c) => {
    const { dataset, userId } = await accessOf(c, c.req.valid("param").ref, "describe");
    const recorded = await addSignature(c.var.deps.sql, userId, dataset, c.req.valid("json").envelope);
    return c.json(shownEvidence(recorded), 201);
  });

  api.openapi(evidenceRoute, async (c) => {
    const { dataset, userId } = await accessOf(c, c.req.valid("param").ref, "describe");
    const { cursor, limit } = c.req.valid("query");
    const after = decodePosition(cursor);
    const rows = await listEvidence(c.var.deps.sql, dataset.id, userId, { after, limit: limit + 1 });
    const evidence = rows.slice(0, limit);
    const last = rows.length > limit ? evidence.at(-1) : undefined;
    return c.json(
      {
        evidence: evidence.map(shownEvidence),
        next_cursor: last === undefined ? null : positionCursor(last),
      },
      200,
    );
  });
}

export function shownEvidence(row: EvidenceRow): ShownEvidence {
  const { id, kind, publicKey, envelope, createdBy, createdAt, expiresAt, withdrawnAt, level } = row;
  return {
    id,
    kind,
    public_key: publicKey && toHex(publicKey),
    envelope: envelope && {
      ...envelope,
      signatures: envelope.signatures.map((signature) => ({ ...signature })),
    },
    created_by: createdBy,
    created_at: createdAt.toISOString(),
    expires_at: expiresAt?.toISOString() ?? null,
    withdrawn_at: withdrawnAt?.toISOString() ?? null,
    trust_level: level,
    trust: trustLabel(level),
  };
}

/** Attestations, and the list of who may make them. */
import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import {
  addAttestor,
  type ListChange,
  readAttestors,
  removeAttestor,
  renewAttestors,
} from "../../catalog/attestors.ts";
import { toHex } from "../../core/bytes.ts";
import { DataStreamError } from "../../core/errors.ts";
import { ATTESTOR_LIST_DEFAULT_SECONDS, ATTESTOR_LIST_MAX_SECONDS } from "../../core/limits.ts";
import { ATTESTATION_TYPE } from "../../core/trust/attestation-statement.ts";
import { parsePublicKey } from "../../core/trust/known-keys.ts";
import { addAttestation, retractAttestation } from "../attestations.ts";
import { type Api, type ApiEnv, needsAdmin, needsApiKey } from "./app.ts";
import { DatasetParams } from "./dataset-schemas.ts";
import { accessOf } from "./datasets.ts";
import { problems } from "./problem.ts";
import { jsonAnswer, jsonBody, KeyName, optionalJson, Time } from "./schemas.ts";
import { Evidence, shownEvidence } from "./signatures.ts";
import { EnvelopeSchema, PublicKey } from "./trust-schemas.ts";

const List = z
  .object({
    version: z
      .int()
      .min(0)
      .openapi({ description: "Each change makes the next; 0: there was none yet", example: 3 }),
    created_at: Time.nullable().openapi({ description: "null: of version 0" }),
    expires_at: Time.nullable().openapi({ description: "null: of version 0" }),
    in_force: z.boolean().openapi({ description: "Of a list that expired, or never was, nobody counts" }),
    attestors: z.array(
      z.object({
        name: KeyName,
        public_key: PublicKey,
        added_in: z
          .int()
          .min(1)
          .openapi({ description: "First version of the list that has it", example: 1 }),
      }),
    ),
  })
  .openapi("AttestorList");

const Lifetime = z
  .int()
  .min(60)
  .max(ATTESTOR_LIST_MAX_SECONDS)
  .default(ATTESTOR_LIST_DEFAULT_SECONDS)
  .openapi({ description: "How long the new version of the list is in force" });
const Renewal = z
  .strictObject({ ttl_seconds: Lifetime })
  .openapi("RenewAttestors", { example: { ttl_seconds: ATTESTOR_LIST_DEFAULT_SECONDS } });

const listRoute = createRoute({
  method: "get",
  path: "/api/attestors",
  tags: ["attestations"],
  summary: "Show the list of attestors",
  ...needsApiKey,
  responses: { 200: jsonAnswer(List, "The newest version"), ...problems(401) },
});

const addRoute = createRoute({
  method: "post",
  path: "/api/admin/attestors",
  tags: ["attestations"],
  summary: "Put an attestor on the list",
  description: "For administrators. Makes the next version of the list.",
  ...needsAdmin,
  request: {
    body: jsonBody(
      z.strictObject({ name: KeyName, public_key: PublicKey, ttl_seconds: Lifetime }).openapi("AddAttestor"),
    ),
  },
  responses: { 201: jsonAnswer(List, "The new version"), ...problems(400, 401, 403, 409, 413, 415) },
});

const removeRoute = createRoute({
  method: "delete",
  path: "/api/admin/attestors/{public_key}",
  tags: ["attestations"],
  summary: "Take an attestor off the list",
  description:
    "For administrators. Makes the next version of the list, which ends when this one would have. What the attestor " +
    "vouched for counts no more, and streams that needed it end.",
  ...needsAdmin,
  request: {
    params: z.object({
      public_key: z
        .string()
        .openapi({ param: { name: "public_key", in: "path", description: "In hexadecimal" } }),
    }),
  },
  responses: { 200: jsonAnswer(List, "The new version"), ...problems(400, 401, 403, 404, 409) },
});

const renewRoute = createRoute({
  method: "post",
  path: "/api/admin/attestors/renew",
  tags: ["attestations"],
  summary: "Renew the list of attestors",
  description: "For administrators: the same people on the next version, with a time of its own.",
  ...needsAdmin,
  request: { body: optionalJson(Renewal) },
  responses: { 200: jsonAnswer(List, "The new version"), ...problems(400, 401, 403, 409, 413, 415) },
});

const attestRoute = createRoute({
  method: "post",
  path: "/api/datasets/{ref}/attestations",
  tags: ["attestations"],
  summary: "Add an attestation of a dataset version",
  description:
    `A DSSE envelope of type ${ATTESTATION_TYPE} by a key on the list of attestors, never one of the owner's. Everybody ` +
    "then trusts the version at level 3, until it expires or the attestor leaves the list.",
  ...needsApiKey,
  request: {
    params: DatasetParams,
    body: jsonBody(z.strictObject({ envelope: EnvelopeSchema }).openapi("AddAttestation")),
  },
  responses: { 201: jsonAnswer(Evidence, "Recorded"), ...problems(400, 401, 403, 404, 409, 413, 415) },
});

const withdrawRoute = createRoute({
  method: "delete",
  path: "/api/attestations/{attestation}",
  tags: ["attestations"],
  summary: "Withdraw an attestation",
  description:
    "For whoever registered its key as theirs, and for administrators. It counts no more, nor does what the attestor issued " +
    "before about the same version; streams that needed it end. One that is issued later counts again.",
  ...needsApiKey,
  request: {
    params: z.object({
      attestation: z
        .string()
        .openapi({ param: { name: "attestation", in: "path", description: "Id of the evidence" } }),
    }),
  },
  responses: { 204: { description: "It is withdrawn" }, ...problems(401, 404) },
});

export function registerAttestations(api: Api): void {
  api.openapi(listRoute, async (c) => c.json(await shownList(c), 200));

  api.openapi(addRoute, async (c) => {
    const { name, public_key, ttl_seconds } = c.req.valid("json");
    const publicKey = parsePublicKey(public_key, "public_key");
    await addAttestor(c.var.deps.sql, { name, publicKey }, changeBy(c, ttl_seconds));
    return c.json(await shownList(c), 201);
  });

  // Before the route with a parameter: a key is never called "renew".
  api.openapi(renewRoute, async (c) => {
    const { ttl_seconds } = Renewal.parse(c.req.valid("json"));
    await renewAttestors(c.var.deps.sql, changeBy(c, ttl_seconds));
    return c.json(await shownList(c), 200);
  });

  api.openapi(removeRoute, async (c) => {
    const publicKey = parsePublicKey(c.req.valid("param").public_key, "public_key");
    if (!(await removeAttestor(c.var.deps.sql, publicKey, c.var.user.id)))
      throw new DataStreamError("not_found", "public_key: is not on the list of attestors.", {
        details: { field: "public_key" },
      });
    return c.json(await shownList(c), 200);
  });

  api.openapi(attestRoute, async (c) => {
    const { dataset, userId } = await accessOf(c, c.req.valid("param").ref, "describe");
    const recorded = await addAttestation(c.var.deps, userId, dataset, c.req.valid("json").envelope);
    return c.json(shownEvidence(recorded), 201);
  });

  api.openapi(withdrawRoute, async (c) => {
    await retractAttestation(c.var.deps.sql, c.var.user, c.req.valid("param").attestation);
    return c.body(null, 204);
  });
}

function changeBy(c: Context<ApiEnv>, seconds: number): ListChange {
  const { deps, user } = c.var;
  return { changedBy: user.id, expiresAt: new Date(deps.clock.now() + seconds * 1000) };
}

async function shownList(c: Context<ApiEnv>): Promise<z.infer<typeof List>> {
  const { list, attestors } = await readAttestors(c.var.deps.sql);
  return {
    version: list?.version ?? 0,
    created_at: list?.createdAt.toISOString() ?? null,
    expires_at: list?.expiresAt.toISOString() ?? null,
    in_force: list?.inForce ?? false,
    attestors: attestors.map(({ name, publicKey, addedIn }) => ({
      name,
      public_key: toHex(publicKey),
      added_in: addedIn,
    })),
  };
}

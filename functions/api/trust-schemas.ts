/** What the routes about keys and statements have in common. */
import { z } from "@hono/zod-openapi";
import { ENVELOPE_MAX_BYTES } from "../../core/limits.ts";

/** Whether it is a sound key is checked by the one verifier, behind every surface. */
export const PublicKey: z.ZodString = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "must be an Ed25519 public key as 64 lowercase hexadecimal digits.")
  .openapi({ example: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" });

/** A DSSE envelope as routes show it. */
export interface ShownEnvelope {
  payloadType: string;
  payload: string;
  signatures: { keyid: string; sig: string }[];
}

/** DSSE 1.0 with exactly one signature. */
export const EnvelopeSchema: z.ZodType<ShownEnvelope> = z
  .strictObject({
    payloadType: z
      .string()
      .max(128)
      .openapi({ example: "application/vnd.cyxcloud.dataset-statement.v1+json" }),
    payload: z.string().max(ENVELOPE_MAX_BYTES).openapi({
      description: "Base64 of the statement's canonical JSON",
      example: "eyJjb250ZW50X2hhc2giOiI3Zj…",
    }),
    signatures: z
      .array(
        z.strictObject({
          keyid: z.string().max(128).openapi({
            description: "The public key in hexadecimal",
            example: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
          }),
          sig: z
            .string()
            .max(128)
            .openapi({ description: "Base64 of 64 bytes", example: "5VZDAMNgrHKQhuLMgG6C…" }),
        }),
      )
      .min(1)
      .max(1),
  })
  .openapi("Envelope", { description: "DSSE 1.0 with exactly one Ed25519 signature" });

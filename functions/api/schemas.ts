/** Pieces that the schemas of several routes share. JSON is snake_case, hashes are lowercase hex, times ISO 8601. */
import { z } from "@hono/zod-openapi";
import { KEY_NAME_MAX_CHARS } from "../../core/limits.ts";

interface JsonAnswer<S extends z.ZodType> {
  readonly description: string;
  readonly content: { readonly "application/json": { readonly schema: S } };
}

/** One entry of a route's `responses`. */
export function jsonAnswer<S extends z.ZodType>(schema: S, description: string): JsonAnswer<S> {
  return { description, content: { "application/json": { schema } } };
}

interface JsonBody<S extends z.ZodType> {
  readonly required: true;
  readonly content: { readonly "application/json": { readonly schema: S } };
}

/** `request.body` of a route. Use strict objects, so that a misspelt field is refused and not ignored. */
export function jsonBody<S extends z.ZodType>(schema: S): JsonBody<S> {
  return { required: true, content: { "application/json": { schema } } };
}

/** A body that may be left out. Without one nothing is validated: a handler that wants defaults parses `{}` itself. */
export function optionalJson<S extends z.ZodType>(
  schema: S,
): Omit<JsonBody<S>, "required"> & { readonly required: false } {
  return { ...jsonBody(schema), required: false };
}

export const Uuid: z.ZodUUID = z.uuid().openapi({ example: "9b2f3c1e-5a41-4d0e-8f5b-2f6a4c1d7e90" });
/** A 32-byte digest. */
export const Digest: z.ZodString = z
  .string()
  .regex(/^[0-9a-f]{64}$/, "must be 64 lowercase hexadecimal digits.")
  .openapi({ example: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262" });
export const Time: z.ZodString = z
  .string()
  .openapi({ format: "date-time", example: "2026-11-01T12:00:00.000Z" });

/** An address in lower case, whatever was sent. */
export const Email: z.ZodType<string, string> = z
  .email()
  .max(254)
  .transform((address) => address.toLowerCase())
  .openapi({ type: "string", format: "email", example: "ada@example.com" });

/** Of a key, for people. */
export const KeyName: z.ZodString = z
  .string()
  .min(1)
  .max(KEY_NAME_MAX_CHARS)
  .regex(/^[ -~\u00a0-\uffff]*$/, "must hold no control characters.")
  .refine((name) => name.isWellFormed(), "must be well-formed text.")
  .openapi({ example: "laptop" });

/** Names that begin with `.` belong to the gateway itself. */
export const BucketName: z.ZodString = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/,
    "must be 3 to 63 of a-z, 0-9, '.', '-', beginning and ending with a letter or digit.",
  )
  .openapi({ example: "datasets" });

/** What a list hands out as `next_cursor`: text that means something to this gateway alone. */
export const Cursor: z.ZodString = z.string().max(2048).openapi({ example: "dHJhaW4vMDAwNDIucG5n" });

/** @param most and default, where the caller names none. */
export function pageLimit(most: number): z.ZodDefault<z.ZodCoercedNumber> {
  return z.coerce.number().int().min(1).max(most).default(most).openapi({ type: "integer", example: 100 });
}

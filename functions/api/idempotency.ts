/**
 * Idempotency keys (after draft-ietf-httpapi-idempotency-key-header): a POST that carries the same `Idempotency-Key`
 * from the same caller takes effect once, and every further try gets the first answer.
 *
 * Neither key nor answer is stored in clear: both are bound to the caller's credential by HMAC and AES-GCM.
 * NOT guaranteed: that nothing happens twice when the gateway dies between an effect and its answer, and the caller
 * tries again after the lease.
 */
import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import {
  claimRequest,
  finishRequest,
  type IdempotentRequest,
  releaseRequest,
} from "../../catalog/idempotency.ts";
import { concatBytes, equalBytes } from "../../core/bytes.ts";
import { type DataStreamError, invalidArgument } from "../../core/errors.ts";
import { IDEMPOTENCY_KEY_MAX_CHARS } from "../../core/limits.ts";
import { utf8 } from "../../core/text.ts";
import { errorFields } from "../log.ts";
import type { ApiEnv } from "./app.ts";
import { HttpError, PROBLEM_TYPE } from "./problem.ts";

export const IDEMPOTENCY_HEADER = "Idempotency-Key";

interface Answer {
  readonly type: string;
  readonly body: string;
}

/** After the caller is known: runs a POST with a key once. Everything else passes. */
export const answerOnce: ReturnType<typeof createMiddleware<ApiEnv>> = createMiddleware<ApiEnv>(
  async (c, next) => {
    const key = c.req.method === "POST" ? c.req.header(IDEMPOTENCY_HEADER) : undefined;
    if (key === undefined) return next();
    if (!/^[\x21-\x7e]+$/.test(key) || key.length > IDEMPOTENCY_KEY_MAX_CHARS) {
      throw invalidArgument(
        IDEMPOTENCY_HEADER,
        `must be 1 to ${IDEMPOTENCY_KEY_MAX_CHARS} printable ASCII characters without spaces; use a random UUID.`,
        { limit: IDEMPOTENCY_KEY_MAX_CHARS },
      );
    }
    const { sql } = c.var.deps;
    const secret = await callerSecret(c, key);
    const request: IdempotentRequest = {
      id: await secret.derive("id"),
      requestHash: await hashRequest(c),
      attempt: crypto.randomUUID(),
    };
    const claim = await claimRequest(sql, request);
    if (claim.state !== "claimed") {
      if (!equalBytes(claim.requestHash, request.requestHash)) throw anotherRequest();
      if (claim.state === "running") throw stillRunning();
      const { type, body } = await open(await secret.derive("answer"), claim.sealedAnswer);
      return new Response(body === "" ? null : body, {
        status: claim.status,
        headers: { "content-type": type, "cache-control": "no-store", "idempotency-replayed": "true" },
      });
    }
    await next();
    try {
      const { status } = c.res;
      if (isFinal(status)) {
        const type = c.res.headers.get("content-type") ?? PROBLEM_TYPE;
        const answer = { type, body: await c.res.clone().text() };
        await finishRequest(sql, request, {
          status,
          sealed: await seal(await secret.derive("answer"), answer),
        });
      } else await releaseRequest(sql, request);
    } catch (error) {
      // What was done is done, and its answer is good; only further tries have to wait.
      c.var.log.error("idempotency", errorFields(error));
    }
  },
);

/** Whether the same request would get the same answer again: not where it failed for want of something. */
function isFinal(status: number): boolean {
  return status < 500 && status !== 429 && status !== 499;
}

interface CallerSecret {
  /** 32 bytes for one use. */
  derive(use: "id" | "answer"): Promise<Uint8Array<ArrayBuffer>>;
}

/** From the credential, which the database has only a hash of, and the key, which it does not have at all. */
async function callerSecret(c: Context<ApiEnv>, key: string): Promise<CallerSecret> {
  const credential = utf8(c.var.credential);
  const hmac = await crypto.subtle.importKey("raw", credential, { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
  ]);
  return {
    derive: async (use) =>
      new Uint8Array(await crypto.subtle.sign("HMAC", hmac, utf8(`idempotency ${use} ${key}`))),
  };
}

async function hashRequest(c: Context<ApiEnv>): Promise<Uint8Array> {
  const { pathname, search } = new URL(c.req.url);
  // Read through the framework, which keeps it for the handler.
  const body = new Uint8Array(await c.req.arrayBuffer());
  const bytes = concatBytes([utf8(`${pathname}${search}\n`), body]);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

const NONCE_BYTES = 12;

/** The secret is used for one answer alone, yet a dead attempt may have sealed another: the nonce is random. */
async function seal(secret: Uint8Array<ArrayBuffer>, answer: Answer): Promise<Uint8Array> {
  const iv = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const sealed = await crypto.subtle.encrypt(
    { name: "AES-GCM", iv },
    await aes(secret),
    utf8(JSON.stringify(answer)),
  );
  return concatBytes([iv, new Uint8Array(sealed)]);
}

async function open(secret: Uint8Array<ArrayBuffer>, sealed: Uint8Array): Promise<Answer> {
  const iv = sealed.slice(0, NONCE_BYTES);
  const bytes = await crypto.subtle.decrypt(
    { name: "AES-GCM", iv },
    await aes(secret),
    sealed.slice(NONCE_BYTES),
  );
  return JSON.parse(new TextDecoder().decode(bytes)) as Answer;
}

function aes(secret: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", secret, "AES-GCM", false, ["encrypt", "decrypt"]);
}

function anotherRequest(): DataStreamError {
  return new HttpError(
    422,
    "failed_precondition",
    `${IDEMPOTENCY_HEADER}: it was used for another request. Send a new key with a new request.`,
    { details: { field: IDEMPOTENCY_HEADER } },
  );
}

function stillRunning(): DataStreamError {
  return new HttpError(
    409,
    "aborted",
    `${IDEMPOTENCY_HEADER}: the first request with it still runs. Try again shortly.`,
    { details: { field: IDEMPOTENCY_HEADER }, headers: { "retry-after": "1" } },
  );
}

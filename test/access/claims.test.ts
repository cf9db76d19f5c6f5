import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Action, type Scope, SCOPES, tokenMay, userMay } from "../../core/access/scopes.ts";
import { fromPayload, type TokenClaims, toPayload } from "../../core/access/token-claims.ts";
import { checkTokenRequest } from "../../core/access/token-request.ts";
import { trustFor } from "../../core/access/trust.ts";
import type { DataStreamError } from "../../core/errors.ts";

const ISSUER = "https://gateway.example";
const scopes = fc.constantFrom<readonly Scope[]>(
  ["read"],
  ["stream"],
  ["read", "stream"],
  ["stream", "read"],
);
const seconds = fc.integer({ min: 0, max: 2 ** 40 });
const claims: fc.Arbitrary<TokenClaims> = fc.record({
  id: fc.uuid(),
  userId: fc.uuid(),
  datasetId: fc.uuid(),
  scopes,
  issuedAt: seconds,
  expiresAt: seconds,
});
const confirmation = fc.record({
  kind: fc.constantFrom("key" as const, "certificate" as const),
  thumbprint: fc.stringMatching(/^[A-Za-z0-9_-]{43}$/),
});

function refusal(run: () => unknown): DataStreamError {
  try {
    run();
  } catch (error) {
    return error as DataStreamError;
  }
  throw new Error("It was accepted.");
}

describe("claims", () => {
  test("come back as they were written", () => {
    fc.assert(
      fc.property(claims, (each) => {
        expect(fromPayload(toPayload(each, ISSUER), ISSUER)).toEqual(each);
      }),
    );
    fc.assert(
      fc.property(claims, confirmation, (each, bound) => {
        const both = { ...each, confirmation: bound };
        expect(fromPayload(toPayload(both, ISSUER), ISSUER)).toEqual(both);
      }),
    );
  });

  test.each([
    [{}],
    [{ jkt: "short" }],
    [{ jkt: "x".repeat(43), other: "y" }],
    [{ jkt: "x".repeat(43), "x5t#S256": "x".repeat(43) }],
    [{ jwk: {} }],
    [{ jkt: ["x".repeat(43)] }],
  ])("with a binding that is not understood, %j, are none", (cnf) => {
    const payload = toPayload(fc.sample(claims, 1)[0] as TokenClaims, ISSUER);
    expect(fromPayload(payload, ISSUER)).toBeDefined();
    expect(fromPayload({ ...payload, cnf }, ISSUER)).toBeUndefined();
  });

  test("of another issuer, with a claim missing, of another type or added, are none", () => {
    const odd = fc.oneof(
      fc.constant(undefined),
      fc.constant(null),
      fc.double(),
      fc.array(fc.string()),
      fc.string(),
    );
    const names = Object.keys(toPayload(fc.sample(claims, 1)[0] as TokenClaims, ISSUER));
    fc.assert(
      fc.property(claims, fc.constantFrom(...names, "nbf", "admin", "cnf"), odd, (each, name, value) => {
        const payload = toPayload(each, ISSUER);
        fc.pre(
          payload[name] !== value && !(name === "scope" && ["read", "stream"].includes(value as string)),
        );
        fc.pre(!((name === "iat" || name === "exp") && Number.isSafeInteger(value)));
        expect(fromPayload({ ...payload, [name]: value }, ISSUER)).toBeUndefined();
      }),
    );
    const one = toPayload(fc.sample(claims, 1)[0] as TokenClaims, ISSUER);
    expect(fromPayload(one, `${ISSUER}/`)).toBeUndefined();
    expect(fromPayload({ ...one, aud: [one.aud] }, ISSUER)).toBeUndefined();
    expect(fromPayload({ ...one, scope: "read read" }, ISSUER)).toBeUndefined();
    expect(fromPayload({ ...one, scope: "read manage" }, ISSUER)).toBeUndefined();
  });
});

describe("a request for a token", () => {
  const request = (
    part: Partial<Parameters<typeof checkTokenRequest>[0]>,
  ): ReturnType<typeof checkTokenRequest> =>
    checkTokenRequest({ scopes: ["stream"], ttlSeconds: undefined, node: undefined, ...part });

  test("lives a day unless it says how long", () => {
    expect(request({})).toEqual({ scopes: ["stream"], ttlSeconds: 86_400 });
    expect(request({ ttlSeconds: 0, node: "" }).ttlSeconds).toBe(86_400);
    expect(request({ scopes: ["stream", "read", "stream"] }).scopes).toEqual(["read", "stream"]);
  });

  test.each([60, 3600, 2_592_000])("may live %i seconds", (ttlSeconds) => {
    expect(request({ ttlSeconds }).ttlSeconds).toBe(ttlSeconds);
  });

  test.each([
    [59, 60],
    [-1, 60],
    [60.5, 60],
    [Number.NaN, 60],
    [2_592_001, 2_592_000],
  ])("may not live %d seconds: the limit is named", (ttlSeconds, limit) => {
    expect(refusal(() => request({ ttlSeconds }))).toMatchObject({
      code: "invalid_argument",
      details: { field: "ttl_seconds", limit },
    });
  });

  test.each([[[]], [["write"]], [["read", "READ"]]])("may not ask for scopes %j", (asked) => {
    expect(refusal(() => request({ scopes: asked }))).toMatchObject({
      code: "invalid_argument",
      details: { field: "scopes" },
    });
  });

  test("may name a node; an empty name is none", () => {
    expect(request({ node: "node-1" }).node).toBe("node-1");
    expect(request({ node: "" }).node).toBeUndefined();
  });
});

describe("who may do what", () => {
  const actions: readonly Action[] = ["describe", "read", "stream", "manage"];
  const allowed = (may: (action: Action) => boolean): readonly Action[] => actions.filter(may);

  test.each([
    [true, [], ["describe", "read", "stream", "manage"]],
    [false, ["read"], ["describe", "read"]],
    [false, ["stream"], ["describe", "stream"]],
    [false, ["read", "stream", "reshare"], ["describe", "read", "stream"]],
    [false, ["reshare"], []],
    [false, [], []],
  ])("owner %s with shares %j: %j", (isOwner, shared, expected) => {
    expect(allowed((action) => userMay(action, { isOwner, shared }))).toEqual(expected);
  });

  test.each([
    [["read"], ["describe", "read"]],
    [["stream"], ["describe", "stream"]],
    [SCOPES, ["describe", "read", "stream"]],
    [[], []],
  ] as const)("a token with %j: %j", (held, expected) => {
    expect(allowed((action) => tokenMay(action, held))).toEqual(expected);
  });
});

test.each([
  ["me", 4, 0, 0],
  ["other", 4, 4, 4],
  ["me", 2, 0, 2],
  ["other", 2, 2, 2],
  ["me", 1, 0, 1],
  ["other", 1, 1, 1],
] as const)(
  "a dataset of %s that evidence puts at %i counts as %i and shows as %i",
  (ownerId, vouchedLevel, effective, displayed) => {
    expect(trustFor({ ownerId, vouchedLevel }, "me")).toEqual({ effective, displayed });
  },
);

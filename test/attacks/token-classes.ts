/** Forged access tokens: one class for each thing that a token says about itself. */
import { createHmac, generateKeyPairSync, randomUUID, sign as signBytes } from "node:crypto";
import { TOKEN_AUDIENCE } from "../../core/access/token-claims.ts";
import { type AttackClass, listed, varied } from "./classes.ts";
import type { Answer } from "./send.ts";
import { plusOrder, spareBits } from "./malleable.ts";
import { ask, SURFACES, type Surface } from "./surfaces.ts";
import {
  base64url,
  ed25519,
  enrolledToken,
  ISSUER,
  issued,
  now,
  type TokenParts,
  type World,
} from "./world.ts";

const stranger = (): { x: string; d: string } => {
  const { x = "", d = "" } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  return { x, d };
};

export function tokenClasses(world: World): AttackClass[] {
  const { current, second, over, future } = world.signingKeys;
  const info = SURFACES[0] as Surface;
  const use = (token: string): Promise<Answer> => ask(world, info, { token });
  const present = async (parts: TokenParts = {}): Promise<Answer> => use(await enrolledToken(world, parts));
  const base = { code: "unauthenticated", sound: () => present() };
  const inHeader = (name: string, values: readonly unknown[]): AttackClass["attacks"] =>
    listed(name, values, (value) => present({ header: { [name]: value } }));
  const inPayload = (name: string, values: readonly unknown[]): AttackClass["attacks"] =>
    listed(name, values, (value) => present({ payload: { [name]: value } }));

  const shared = Buffer.from(current.x, "base64url");
  const hmac = (hash: string) => (input: Buffer) =>
    new Uint8Array(createHmac(hash, shared).update(input).digest());
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const algorithms: AttackClass = {
    ...base,
    name: "token: algorithm",
    attacks: [
      ...inHeader("alg", [
        "none",
        "None",
        "NONE",
        "EdDSA",
        "ed25519",
        "Ed448",
        "",
        null,
        7,
        ["Ed25519"],
        undefined,
      ]),
      ...varied<TokenParts>(
        {
          "none, and no signature": { header: { alg: "none" }, signature: () => new Uint8Array() },
          "HS256 with the public key as secret": { header: { alg: "HS256" }, signature: hmac("sha256") },
          "HS384 with the public key as secret": { header: { alg: "HS384" }, signature: hmac("sha384") },
          "HS512 with the public key as secret": { header: { alg: "HS512" }, signature: hmac("sha512") },
          "ES256 by a key of one's own": {
            header: { alg: "ES256" },
            signature: (input) =>
              new Uint8Array(signBytes("sha256", input, { key: ec, dsaEncoding: "ieee-p1363" })),
          },
          "RS256 by a key of one's own": {
            header: { alg: "RS256" },
            signature: (input) => new Uint8Array(signBytes("sha256", input, rsa)),
          },
        },
        present,
      ),
    ],
  };

  const kids: AttackClass = {
    ...base,
    name: "token: key id",
    attacks: inHeader("kid", [
      undefined,
      "second",
      "over",
      "third",
      "",
      "CURRENT",
      "current ",
      "__proto__",
      "constructor",
      "../current",
      "current\u0000",
      "' OR 1=1 --",
      0,
      null,
      ["current"],
      current.x,
    ]),
  };

  const critical: AttackClass = {
    ...base,
    name: "token: critical extensions",
    attacks: [
      ...inHeader("crit", [
        [],
        ["exp"],
        ["kid"],
        ["alg"],
        ["typ"],
        ["x"],
        ["b64"],
        "exp",
        null,
        {},
        1,
        true,
        [""],
        [null],
      ]),
      { what: '["b64"] with b64', attempt: () => present({ header: { crit: ["b64"], b64: true } }) },
      { what: '["x"] with x', attempt: () => present({ header: { crit: ["x"], x: 1 } }) },
    ],
  };

  const types: AttackClass = {
    ...base,
    name: "token: type",
    attacks: inHeader("typ", [
      undefined,
      "",
      "jwt",
      "Jwt",
      "at+jwt",
      "dpop+jwt",
      "JOSE",
      "application/jwt",
      "JWT ",
      " JWT",
      "JWT;x",
      null,
      7,
      ["JWT"],
    ]),
  };

  const own = stranger();
  const jwk = { kty: "OKP", crv: "Ed25519", x: own.x };
  const strangers: AttackClass = {
    ...base,
    name: "token: a stranger's signing key",
    attacks: varied<Record<string, unknown>>(
      {
        "and nothing else": {},
        "with jwk": { jwk },
        "with jwk and its kid": { jwk: { ...jwk, kid: "current" } },
        "with jwk in place of kid": { jwk, kid: undefined },
        "with jku": { jku: "https://evil.example/jwks.json" },
        "with jku of this gateway": { jku: new URL("/.well-known/jwks.json", world.gateway.url).href },
        "with x5u": { x5u: "https://evil.example/chain" },
        "with x5c": { x5c: ["MIIB"] },
        "with x5t": { x5t: own.x },
        "with another configured kid": { kid: "second" },
        "with a new kid": { kid: "evil" },
        "with jwk and alg none": { jwk, alg: "none" },
      },
      (extra) => present({ header: extra, key: own }),
    ),
  };

  const wrongKeys: AttackClass = {
    ...base,
    name: "token: rotated keys",
    sound: () => present({ header: { kid: "second" }, key: second }),
    attacks: [
      ...SURFACES.slice(0, 6).flatMap((surface) =>
        (
          [
            ["rotated out", over],
            ["not in force yet", future],
          ] as const
        ).map(([what, key]) => ({
          what: `${what}, ${surface.name}`,
          attempt: async () =>
            ask(world, surface, { token: await enrolledToken(world, { header: { kid: key.kid }, key }) }),
          sound: async () => ask(world, surface, { token: await enrolledToken(world) }),
        })),
      ),
      { what: "rotated out, under the current kid", attempt: () => present({ key: over }) },
      { what: "in force, under another's kid", attempt: () => present({ key: second }) },
    ],
  };

  const audiences: AttackClass = {
    ...base,
    name: "token: audience",
    attacks: inPayload("aud", [
      undefined,
      null,
      "",
      "other",
      `${TOKEN_AUDIENCE} `,
      TOKEN_AUDIENCE.toUpperCase(),
      `${TOKEN_AUDIENCE}/`,
      [TOKEN_AUDIENCE],
      [TOKEN_AUDIENCE, "other"],
      [],
      {},
      7,
      "*",
    ]),
  };
  const issuers: AttackClass = {
    ...base,
    name: "token: issuer",
    attacks: inPayload("iss", [
      undefined,
      null,
      "",
      "urn:other",
      `${ISSUER}/`,
      `${ISSUER} `,
      ISSUER.toUpperCase(),
      [ISSUER],
      {},
      7,
      "*",
      `${ISSUER}\u0000`,
    ]),
  };
  const times: AttackClass = {
    ...base,
    name: "token: times",
    attacks: [
      ...inPayload("exp", [
        now() - 1,
        now(),
        0,
        -1,
        undefined,
        null,
        "9999999999",
        1e300,
        now() + 100.5,
        [now() + 100],
        true,
      ]),
      ...inPayload("nbf", [now() + 60, now() - 60, "x", null]),
      ...inPayload("iat", [undefined, null, "now", 1.5, []]),
    ],
  };
  const claims: AttackClass = {
    ...base,
    name: "token: claims",
    attacks: [
      ...inPayload("sub", [
        undefined,
        "",
        "ada",
        null,
        [world.ada.userId],
        world.bob.userId.replaceAll("-", ""),
      ]),
      ...inPayload("jti", [undefined, "", 7, randomUUID()]),
      ...inPayload("scope", [
        "",
        "manage",
        "read manage",
        "read read",
        "READ",
        "read  stream",
        ["read"],
        null,
        undefined,
      ]),
      ...inPayload("cnf", [null, {}, [], "x", { jkt: "short" }, { jwk: {} }, { jkt: "x".repeat(43), x: 1 }]),
      ...inPayload("admin", [true]),
    ],
  };
  const datasets: AttackClass = {
    ...base,
    name: "token: its dataset claim",
    attacks: [
      ...inPayload("dataset", [
        undefined,
        "",
        "words",
        "*",
        null,
        [world.v2],
        world.v1,
        world.other,
        randomUUID(),
        `${world.v2} `,
      ]),
      {
        what: "of another version, presented for that",
        attempt: async () =>
          ask(
            world,
            info,
            { token: await enrolledToken(world, { payload: { dataset: world.v1 } }) },
            world.v1,
          ),
      },
    ],
  };

  const sign = ed25519(current);
  const altered = (change: (signature: Uint8Array) => Uint8Array): Promise<Answer> =>
    present({ signature: (input) => change(sign(input)) });
  const signatures: AttackClass = {
    ...base,
    name: "token: signature",
    attacks: [
      ...[0, 1, 7, 100, 254, 255, 256, 300, 400, 508, 511].map((bit) => ({
        what: `bit ${bit} flipped`,
        attempt: () =>
          altered((signature) => {
            signature[bit >> 3] = (signature[bit >> 3] as number) ^ (1 << (bit & 7));
            return signature;
          }),
      })),
      ...varied<(signature: Uint8Array) => Uint8Array>(
        {
          empty: () => new Uint8Array(),
          zeros: () => new Uint8Array(64),
          "one byte short": (signature) => signature.subarray(0, 63),
          "one byte long": (signature) => Uint8Array.from([...signature, 0]),
          twice: (signature) => Uint8Array.from([...signature, ...signature]),
          "halves swapped": (signature) =>
            Uint8Array.from([...signature.subarray(32), ...signature.subarray(0, 32)]),
          "S plus the group order": plusOrder,
          "R of small order, S zero": () => Uint8Array.from([1, ...new Uint8Array(63)]),
        },
        altered,
      ),
      { what: "of another token", attempt: () => present({ signature: () => sign(Buffer.from("other")) }) },
    ],
  };

  const texts: AttackClass = {
    code: "unauthenticated",
    name: "token: its text",
    sound: async () => use((await issued(world)).token),
    attacks: varied<(token: string, parts: string[]) => string>(
      {
        "the spare bits of its last character": (token) => spareBits(token),
        padding: (token) => `${token}==`,
        "a part more": (token) => `${token}.`,
        "a part less": (_, [header, payload]) => `${header}.${payload}`,
        "no signature": (_, [header, payload]) => `${header}.${payload}.`,
        twice: (token) => `${token}.${token}`,
        "one character less": (token) => token.slice(0, -1),
        "lower case": (token) => token.toLowerCase(),
        "parts in another order": (_, [header, payload, signature]) => `${payload}.${header}.${signature}`,
        "its id alone": () => randomUUID(),
        "very long": (token) => token + "A".repeat(8_000),
        "another spelling of the header": (_, [header = "", payload, signature]) =>
          `${base64url(` ${Buffer.from(header, "base64url").toString()}`)}.${payload}.${signature}`,
        "its scope raised": (_, [header, payload = "", signature]) =>
          `${header}.${base64url(Buffer.from(payload, "base64url").toString().replace("read stream", "read stream manage"))}.${signature}`,
      },
      async (change) => {
        const { token } = await issued(world);
        const changed = change(token, token.split("."));
        if (changed === token) throw new Error("Nothing was changed.");
        return use(changed);
      },
    ),
  };

  return [
    algorithms,
    kids,
    critical,
    types,
    strangers,
    wrongKeys,
    audiences,
    issuers,
    times,
    claims,
    datasets,
    signatures,
    texts,
  ];
}

/** Forged proofs of possession: DPoP (RFC 9449) field by field, and what the platform says of client certificates. */
import { createHash, generateKeyPairSync, createHmac, randomUUID, sign as signBytes } from "node:crypto";
import { keyThumbprint } from "../../functions/proofs.ts";
import { type AttackClass, listed, varied } from "./classes.ts";
import type { Answer } from "./send.ts";
import { ask, SURFACES, type Surface } from "./surfaces.ts";
import { base64url, ed25519, enrolledToken, freshKey, issued, newNode, now, type World } from "./world.ts";

interface ProofParts {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly sign?: (input: Buffer) => Uint8Array;
}

export async function proofClasses(world: World): Promise<AttackClass[]> {
  const info = SURFACES[0] as Surface;
  const node = await newNode(world);
  const { token } = await issued(world, { node: node.name });
  const x = base64url(node.key.publicKey);
  const d = base64url(node.key.seed);
  const jwk = { kty: "OKP", crv: "Ed25519", x };
  const digest = (text: string, hash = "sha256"): string => createHash(hash).update(text).digest("base64url");
  const target = new URL(`/api/datasets/${world.v2}`, world.gateway.url);
  const prove = async ({ header, claims, sign = ed25519({ x, d }) }: ProofParts = {}): Promise<Answer> => {
    const full = {
      htm: "GET",
      htu: target.href,
      iat: now(),
      jti: randomUUID(),
      ath: digest(token),
      ...claims,
    };
    const input = [{ typ: "dpop+jwt", alg: "Ed25519", jwk, ...header }, full]
      .map((part) => base64url(JSON.stringify(part)))
      .join(".");
    const proof = `${input}.${base64url(sign(Buffer.from(input)))}`;
    return ask(world, info, { token, proof: () => Promise.resolve(proof) });
  };
  const base = { code: "unauthenticated", sound: () => prove() };
  const claim = (name: string, values: readonly unknown[]): AttackClass["attacks"] =>
    listed(name, values, (value) => prove({ claims: { [name]: value } }));
  const at = (change: (url: URL) => void): string => {
    const url = new URL(target);
    change(url);
    return url.href;
  };
  const other = freshKey();
  const otherKey = { x: base64url(other.publicKey), d: base64url(other.seed) };
  const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const ecJwk = ec.publicKey.export({ format: "jwk" });
  const es256 = (input: Buffer): Uint8Array =>
    new Uint8Array(signBytes("sha256", input, { key: ec.privateKey, dsaEncoding: "ieee-p1363" }));
  const hmac = (input: Buffer): Uint8Array =>
    new Uint8Array(createHmac("sha256", node.key.publicKey).update(input).digest());

  return [
    {
      ...base,
      name: "proof: method",
      attacks: claim("htm", [
        undefined,
        null,
        "",
        "get",
        "POST",
        "PUT",
        "HEAD",
        "DELETE",
        "GET ",
        "*",
        ["GET"],
        7,
      ]),
    },
    {
      ...base,
      name: "proof: address",
      attacks: claim("htu", [
        undefined,
        null,
        "",
        7,
        "nonsense",
        target.pathname,
        [target.href],
        at((url) => (url.pathname += "/files")),
        at((url) => (url.pathname += "/")),
        at((url) => (url.pathname = url.pathname.toUpperCase())),
        at((url) => (url.pathname = `/api/datasets/${world.v1}`)),
        at((url) => (url.host = "elsewhere.example")),
        at((url) => (url.port = "1")),
        at((url) => (url.protocol = "https:")),
        at((url) => (url.username = "ada")),
      ]),
    },
    {
      ...base,
      name: "proof: time",
      attacks: claim("iat", [undefined, null, "", `${now()}`, 0, -1, Date.now(), 1e300, true, [1]]).concat(
        listed("seconds from now", [-3600, -120, 60, 3600], (seconds) =>
          prove({ claims: { iat: now() + seconds } }),
        ),
      ),
    },
    {
      ...base,
      name: "proof: token hash",
      attacks: claim("ath", [
        undefined,
        null,
        "",
        7,
        [digest(token)],
        token,
        digest(`${token} `),
        digest(world.ada.apiKey),
        digest(`DPoP ${token}`),
        digest(token, "sha1"),
        digest(token, "sha512"),
        `${digest(token)}=`,
        digest(token).slice(0, -1),
        digest(digest(token)),
      ]),
    },
    {
      ...base,
      name: "proof: its id and times",
      attacks: [
        ...claim("jti", [undefined, null, "", 7, 0, true, [], ["x"], {}, "x".repeat(257), "x".repeat(2_000)]),
        ...claim("exp", [1, "x"]),
        ...claim("nbf", [4_000_000_000, "x"]),
      ],
    },
    {
      ...base,
      name: "proof: key and header",
      attacks: varied<ProofParts>(
        {
          "no key": { header: { jwk: undefined } },
          "the private key": { header: { jwk: { ...jwk, d } } },
          "another key": { header: { jwk: { ...jwk, x: otherKey.x } }, sign: ed25519(otherKey) },
          "signed by another key": { sign: ed25519(otherKey) },
          "another curve": { header: { jwk: { ...jwk, crv: "X25519" } } },
          "another kind of key": { header: { jwk: { ...jwk, kty: "EC" } } },
          "padded key": { header: { jwk: { ...jwk, x: `${x}=` } } },
          "short key": { header: { jwk: { ...jwk, x: x.slice(0, -2) } } },
          "key by kid": { header: { jwk: undefined, kid: x } },
          ES256: { header: { alg: "ES256", jwk: ecJwk }, sign: es256 },
          "HS256 with the public key as secret": { header: { alg: "HS256" }, sign: hmac },
          "no algorithm": { header: { alg: "none" }, sign: () => new Uint8Array() },
          "the deprecated algorithm": { header: { alg: "EdDSA" } },
          "type of a token": { header: { typ: "JWT" } },
          "no type": { header: { typ: undefined } },
          "critical extension": { header: { crit: ["exp"] } },
          "empty list of critical extensions": { header: { crit: [] } },
          "no signature": { sign: () => new Uint8Array() },
          "small-order signature": { sign: () => Uint8Array.from([1, ...new Uint8Array(63)]) },
          "signature cut": { sign: (input) => ed25519({ x, d })(input).subarray(0, 63) },
        },
        prove,
      ),
    },
    await certificateClass(world),
  ];
}

/** A token that is bound to a certificate, over connections of which the platform says other things. */
async function certificateClass(world: World): Promise<AttackClass> {
  const fingerprint = createHash("sha256").update(randomUUID()).digest();
  const good = {
    certPresented: "1",
    certVerified: "SUCCESS",
    certRevoked: "0",
    certFingerprintSHA256: fingerprint.toString("hex"),
  };
  const nodeId = randomUUID();
  await world.gateway.database.sql.query({
    text: "INSERT INTO training_nodes (id, owner_id, name, certificate_sha256) VALUES ($1, $2, 'certified', $3)",
    values: [nodeId, world.ada.userId, new Uint8Array(fingerprint)],
  });
  const bound = (cnf: object): Promise<string> => enrolledToken(world, { payload: { cnf }, nodeId });
  const token = await bound({ "x5t#S256": fingerprint.toString("base64url") });
  const present = async (
    tls: Readonly<Record<string, unknown>> | undefined,
    { headers = {}, held = token }: { headers?: Record<string, string>; held?: string } = {},
  ): Promise<Answer> => {
    const answer = await world.gateway.dispatch(`https://gateway.example/api/datasets/${world.v2}`, {
      method: "GET",
      headers: { authorization: `Bearer ${held}`, ...headers },
      cf: tls === undefined ? {} : { tlsClientAuth: tls },
    });
    const { code = "ok" } = (await answer.json()) as { code?: string };
    return { accepted: answer.ok, code };
  };
  const keyed = await bound({ jkt: await keyThumbprint(freshKey().publicKey) });
  const hex = good.certFingerprintSHA256;
  return {
    name: "client certificate",
    code: "unauthenticated",
    sound: () => present(good),
    attacks: [
      ...varied<Record<string, unknown>>(
        {
          "not presented": { certPresented: "0" },
          "presented as a number": { certPresented: 1 },
          "not verified": { certVerified: "NONE" },
          "verified in vain": { certVerified: "FAILED:certificate has expired" },
          "self-signed": { certVerified: "FAILED:self signed certificate" },
          revoked: { certRevoked: "1" },
          "not known to be unrevoked": { certRevoked: undefined },
          "of another certificate": { certFingerprintSHA256: "ab".repeat(32) },
          "by SHA-1": { certFingerprintSHA256: "ab".repeat(20) },
          "without fingerprint": { certFingerprintSHA256: undefined },
          "cut fingerprint": { certFingerprintSHA256: hex.slice(2) },
          "padded fingerprint": { certFingerprintSHA256: ` ${hex}` },
        },
        (change) => present({ ...good, ...change }),
      ),
      { what: "none at all", attempt: () => present(undefined) },
      {
        what: "in headers alone",
        attempt: () =>
          present(undefined, {
            headers: {
              "cf-client-cert-sha256": hex,
              "x-client-cert-sha256": hex,
              "x-forwarded-client-cert": `Hash=${hex}`,
              "x-ssl-client-verify": "SUCCESS",
            },
          }),
      },
      { what: "where a key is asked for", attempt: () => present(good, { held: keyed }) },
    ],
  };
}

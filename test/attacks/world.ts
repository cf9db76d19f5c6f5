/** Who attacks what: a gateway with users, versions, keys, nodes, shares, tokens and a stream. */
import { createHash, createPrivateKey, randomBytes, randomUUID, sign as signBytes } from "node:crypto";
import { createProof } from "../../client/proof.ts";
import { TOKEN_AUDIENCE } from "../../core/access/token-claims.ts";
import { toHex } from "../../core/bytes.ts";
import type { KeyPair } from "../../core/trust/ed25519.ts";
import { keyPairOf } from "../../core/trust/ed25519.ts";
import { createSigningKeys } from "../../scripts/stack/state.ts";
import type { GatewayLog } from "../../scripts/stack/gateway.ts";
import type { TestGateway } from "../support/gateway.ts";
import { clientOf, ownerOf, person, type Person, startWords } from "../trust/fixture.ts";
import { type Send, sender } from "./send.ts";

export const ISSUER = "urn:cyxcloud:test";

export interface GatewayKey {
  readonly kid: string;
  readonly x: string;
  readonly d: string;
  readonly nbf?: number;
  readonly exp?: number;
}

export interface World {
  readonly gateway: TestGateway;
  readonly send: Send;
  /** Owns two versions of `owner/words`, and administers. */
  readonly ada: Person;
  /** Holds version 2 to read and stream. */
  readonly eve: Person;
  /** Holds version 2 to read and pass on, for a day. */
  readonly carol: Person;
  /** Knows and holds nothing of this. */
  readonly bob: Person;
  /** Gets and loses shares as tests need it. */
  readonly dora: Person;
  readonly v1: string;
  readonly v2: string;
  /** Another dataset of ada's. */
  readonly other: string;
  /** A stream of ada's over version 2, and what acknowledges its first batch. */
  readonly stream: { readonly id: string; readonly acknowledgement: Readonly<Record<string, unknown>> };
  /** What the gateway signs tokens with: in force, over, and not in force yet. */
  readonly signingKeys: Readonly<Record<"current" | "second" | "over" | "future", GatewayKey>>;
}

export interface WorldOptions {
  readonly onLog?: (line: GatewayLog) => void;
}

export const now = (): number => Math.floor(Date.now() / 1000);
export const freshKey = (): KeyPair => keyPairOf(new Uint8Array(randomBytes(32)));
export const base64url = (value: Uint8Array | string): string => Buffer.from(value).toString("base64url");
export const as = ({ apiKey }: { readonly apiKey: string }): { authorization: string } => ({
  authorization: `Bearer ${apiKey}`,
});

export async function createWorld(options: WorldOptions = {}): Promise<World> {
  const signingKeys = {
    current: gatewayKey("current", { nbf: now() - 100 }),
    second: gatewayKey("second"),
    over: gatewayKey("over", { nbf: now() - 5_000, exp: now() - 1 }),
    future: gatewayKey("future", { nbf: now() + 86_400 }),
  };
  const gateway = await startWords(4, 100, {
    ...options,
    bindings: { SIGNING_KEYS: JSON.stringify({ keys: Object.values(signingKeys) }), ISSUER },
  });
  const ada = ownerOf(gateway);
  await ada.client.datasets.create({
    name: "others",
    files: ["words/even/*.txt"],
    schema: { type: "text", format: "txt" },
  });
  const [v1, v2, other] = await Promise.all(
    ["words@1", "words@2", "others"].map(async (name) => (await ada.client.datasets.get(name)).id),
  );
  const [eve, carol, bob, dora] = await Promise.all(
    ["eve", "carol", "bob", "dora"].map((name) => person(gateway, name)),
  );
  const world = {
    gateway,
    send: sender(gateway.url),
    ada,
    v1,
    v2,
    other,
    signingKeys,
    eve,
    carol,
    bob,
    dora,
  };
  const give = (user: string, permissions: string[], expires_at?: string): Promise<string> =>
    idOf(world, "POST", `/api/datasets/${v2}/shares`, {
      user,
      permissions,
      ...(expires_at && { expires_at }),
    });
  await give("eve", ["read", "stream"]);
  await give("carol", ["read", "reshare"], new Date((now() + 86_400) * 1000).toISOString());
  return { ...world, stream: await runStream(gateway, ada, v2 as string) } as World;
}

/** Reads a stream to its end, and keeps what the client sent to acknowledge it. */
async function runStream(gateway: TestGateway, ada: Person, dataset: string): Promise<World["stream"]> {
  const id = `run-${randomUUID()}`;
  let acknowledgement: Record<string, unknown> = {};
  const client = clientOf(gateway, {
    apiKey: ada.apiKey,
    fetch: async (input, init) => {
      const request = new Request(input, init);
      if (request.url.endsWith("/AckBatches"))
        acknowledgement = (await request.json()) as typeof acknowledgement;
      return fetch(input, init);
    },
  });
  for await (const batch of client.streamBatches({ dataset, batchSize: 4, streamId: id }))
    await batch.acknowledge();
  if (!("transcriptHead" in acknowledgement)) throw new Error("Nothing was acknowledged.");
  return { id, acknowledgement };
}

/** Creates something over REST, as ada where the headers do not say otherwise, and tells its id. */
export async function idOf(
  world: Pick<World, "gateway">,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<string> {
  const { id } = (await created(world, method, path, body, headers)) as { id: string };
  return id;
}

export async function created(
  { gateway }: Pick<World, "gateway">,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<Record<string, unknown>> {
  const response = await gateway.request(path, {
    method,
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

function gatewayKey(kid: string, times: { nbf?: number; exp?: number } = {}): GatewayKey {
  const [key] = (JSON.parse(createSigningKeys()) as { keys: [GatewayKey] }).keys;
  return { ...key, ...times, kid };
}

/** The parts of a token before they are joined, all of them for an attacker to choose. */
export interface TokenParts {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly payload?: Readonly<Record<string, unknown>>;
  /** Who signs. Default: the gateway's current key. */
  readonly key?: { readonly x: string; readonly d: string };
  /** In place of an Ed25519 signature over the first two parts. */
  readonly signature?: (input: Buffer) => Uint8Array;
  /** The training node in the gateway's own record. */
  readonly nodeId?: string;
  readonly datasetId?: string;
}

export const HEADER: Readonly<Record<string, unknown>> = { alg: "Ed25519", typ: "JWT", kid: "current" };

/**
 * A token of ada's for version 2 that the gateway's database knows as issued, whatever its parts say: so a refusal is
 * owed to the check of these parts alone, not to the token's being unknown.
 */
export async function enrolledToken(world: World, parts: TokenParts = {}): Promise<string> {
  const id = randomUUID();
  const payload = {
    iss: ISSUER,
    aud: TOKEN_AUDIENCE,
    sub: world.ada.userId,
    jti: id,
    dataset: world.v2,
    scope: "read stream",
    iat: now() - 10,
    exp: now() + 3600,
    ...parts.payload,
  };
  const input = `${base64url(JSON.stringify({ ...HEADER, ...parts.header }))}.${base64url(JSON.stringify(payload))}`;
  const signature = (parts.signature ?? ed25519(parts.key ?? world.signingKeys.current))(Buffer.from(input));
  const token = `${input}.${base64url(signature)}`;
  await world.gateway.database.sql.query({
    text: `INSERT INTO data_access_tokens (id, dataset_id, issued_by, token_hash, scopes, created_at, expires_at, node_id)
      VALUES ($1, $2, $3, $4, '{read,stream}', now(), now() + interval '1 hour', $5)`,
    values: [id, parts.datasetId ?? world.v2, world.ada.userId, sha256(token), parts.nodeId ?? null],
  });
  return token;
}

export function ed25519({ x, d }: { readonly x: string; readonly d: string }): (input: Buffer) => Uint8Array {
  const key = createPrivateKey({ key: { kty: "OKP", crv: "Ed25519", x, d }, format: "jwk" });
  return (input) => new Uint8Array(signBytes(null, input, key));
}

export function sha256(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest());
}

export interface Node {
  readonly id: string;
  readonly name: string;
  readonly key: KeyPair;
}

/** A training node of ada's. */
export async function newNode(world: World): Promise<Node> {
  const key = freshKey();
  const name = `node-${toHex(key.publicKey).slice(0, 12)}`;
  const url = new URL("/api/training-nodes", world.gateway.url).href;
  const dpop = await createProof(key, { method: "POST", url, credential: world.ada.apiKey });
  return { id: await idOf(world, "POST", "/api/training-nodes", { name }, { dpop }), name, key };
}

/** A token of ada's, over REST. */
export async function issued(
  world: World,
  request: { readonly node?: string; readonly scopes?: readonly string[] } = {},
  dataset: string = world.v2,
  who: Person = world.ada,
): Promise<{ readonly id: string; readonly token: string }> {
  const body = { scopes: ["read", "stream"], ...request };
  const answer = await created(world, "POST", `/api/datasets/${dataset}/tokens`, body, as(who));
  return answer as { id: string; token: string };
}

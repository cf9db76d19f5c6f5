/** A dataset in a real gateway, made without the job that normally makes one: the tests here are about streams. */
import { createHash, randomUUID } from "node:crypto";
import { packTar } from "modern-tar";
import { insertToken } from "../../catalog/tokens.ts";
import { type TokenClaims, toPayload } from "../../core/access/token-claims.ts";
import { encodeManifest } from "../../core/dataset/manifest.ts";
import { parseSchema, schemaHash as hashSchema } from "../../core/dataset/schema.ts";
import { type Kernels, loadKernels } from "../../kernels/index.ts";
import { importJWK, SignJWT, type JWK } from "jose";
import { createSigningKeys } from "../../scripts/stack/state.ts";
import { startGateway, type TestGateway, type TestGatewayOptions } from "../support/gateway.ts";

export const kernels: Kernels = await loadKernels();
const ISSUER = "urn:cyxcloud:test";

export interface TestFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface TestDataset {
  readonly id: string;
  readonly name: string;
  readonly contentHash: Uint8Array;
  readonly schemaHash: Uint8Array;
  readonly bucket: string;
  /** In manifest order. */
  readonly files: readonly (TestFile & { readonly hash: Uint8Array })[];
  token(
    options?: Partial<Pick<TokenClaims, "userId" | "scopes" | "expiresAt" | "issuedAt">>,
  ): Promise<TestToken>;
}

export interface TestToken {
  readonly id: string;
  readonly token: string;
}

export interface StreamGateway extends TestGateway {
  readonly signingKeys: string;
}

export async function startStreamGateway(options: TestGatewayOptions = {}): Promise<StreamGateway> {
  const signingKeys = createSigningKeys();
  const gateway = await startGateway({
    ...options,
    bindings: { SIGNING_KEYS: signingKeys, ISSUER, ...options.bindings },
  });
  return { ...gateway, signingKeys };
}

/** Bytes that differ for each seed, and repeat for the same one. */
export function noise(length: number, seed: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** `count` files in class folders, of the sizes that `sizeOf` says. */
export function noiseFiles(count: number, sizeOf: (index: number) => number): TestFile[] {
  return Array.from({ length: count }, (_, i) => ({
    path: `class-${i % 5}/item-${String(i).padStart(6, "0")}.bin`,
    bytes: noise(sizeOf(i), i),
  })).toSorted((a, b) => (a.path < b.path ? -1 : 1));
}

export async function addDataset(
  gateway: StreamGateway,
  files: readonly TestFile[],
  options: { readonly chunkBytes?: number } = {},
): Promise<TestDataset> {
  const name = `set-${randomUUID().slice(0, 8)}`;
  const bucket = name;
  await ok(
    gateway.request(`/api/buckets/${bucket}`, json("PUT", { chunk_bytes: options.chunkBytes ?? 64 * 1024 })),
  );
  await uploadTar(gateway, bucket, files);
  const hashed = files.map((file) => ({ ...file, hash: kernels.blake3.hash(file.bytes) }));
  const manifest = encodeManifest(
    hashed.map(({ path, bytes, hash }) => ({ path, size: bytes.length, contentHash: hash })),
  );
  const manifestId = await uploadObject(gateway, bucket, "manifest", manifest);
  const contentHash = kernels.blake3.hash(manifest);
  const schema = parseSchema({ type: "bytes", format: "bin" });
  const schemaHash = hashSchema(schema, kernels.blake3);
  const id = randomUUID();
  const { sql } = gateway.database;
  const sizes = files.map(({ bytes }) => bytes.length);
  await sql.transaction([
    {
      text: `INSERT INTO datasets (id, owner_id, name, state, version, schema, schema_hash, content_hash,
        total_size_bytes, file_count, max_item_bytes, manifest_object_id, tree_object_id)
        VALUES ($1, $2, $3, 'ready', 1, $4, $5, $6, $7, $8, $9, $10, $10)`,
      values: [
        id,
        gateway.owner.userId,
        name,
        JSON.stringify(schema),
        schemaHash,
        contentHash,
        sizes.reduce((sum, size) => sum + size, 0),
        files.length,
        Math.max(...sizes),
        manifestId,
      ],
    },
    {
      text: `INSERT INTO dataset_files (dataset_id, file_index, object_id, path_in_dataset, content_hash, size_bytes)
        SELECT $1, asked.position - 1, o.id, asked.path, o.content_hash, o.size
        FROM unnest($2::text[]) WITH ORDINALITY AS asked (path, position)
        JOIN buckets b ON b.name = $3
        JOIN objects o ON o.bucket_id = b.id AND o.key = 'files/' || asked.path AND o.state = 'live'`,
      values: [id, files.map(({ path }) => path), bucket],
    },
  ]);
  return {
    id,
    name,
    contentHash,
    schemaHash,
    bucket,
    files: hashed,
    token: (claims) => addToken(gateway, id, claims ?? {}),
  };
}

async function addToken(
  gateway: StreamGateway,
  datasetId: string,
  claims: Partial<TokenClaims>,
): Promise<TestToken> {
  const now = Math.floor(Date.now() / 1000);
  const full: TokenClaims = {
    id: randomUUID(),
    userId: gateway.owner.userId,
    datasetId,
    scopes: ["read", "stream"],
    issuedAt: now,
    expiresAt: now + 3600,
    ...claims,
  };
  const [jwk] = (JSON.parse(gateway.signingKeys) as { keys: [JWK] }).keys;
  const key = await importJWK(jwk, "Ed25519");
  const token = await new SignJWT(toPayload(full, ISSUER))
    .setProtectedHeader({ alg: "Ed25519", typ: "JWT", kid: jwk.kid as string })
    .sign(key);
  await insertToken(gateway.database.sql, {
    id: full.id,
    datasetId,
    issuedBy: full.userId,
    tokenHash: createHash("sha256").update(token).digest(),
    scopes: full.scopes,
    createdAt: new Date(full.issuedAt * 1000),
    expiresAt: new Date(full.expiresAt * 1000),
  });
  return { id: full.id, token };
}

/** Parts stay below what one tar part may hold. */
const TAR_PART_BYTES = 32 * 1024 * 1024;

async function uploadTar(gateway: TestGateway, bucket: string, files: readonly TestFile[]): Promise<void> {
  const created = await ok(
    gateway.request("/api/uploads", json("POST", { bucket, kind: "tar", prefix: "files/" })),
  );
  const { upload_id: upload } = (await created.json()) as { upload_id: string };
  const parts: TestFile[][] = [[]];
  let bytes = 0;
  for (const file of files) {
    if (bytes + file.bytes.length > TAR_PART_BYTES) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)?.push(file);
    bytes += file.bytes.length;
  }
  for (const [i, part] of parts.entries()) {
    const tar = await packTar(
      part.map((file) => ({
        header: { name: file.path, size: file.bytes.length, type: "file" as const },
        body: file.bytes,
      })),
    );
    await ok(
      gateway.request(`/api/uploads/${upload}/parts/${i + 1}`, {
        method: "PUT",
        body: tar,
      }),
    );
  }
  await ok(gateway.request(`/api/uploads/${upload}/complete`, json("POST", { parts: parts.length })));
}

async function uploadObject(
  gateway: TestGateway,
  bucket: string,
  key: string,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<string> {
  const created = await ok(gateway.request("/api/uploads", json("POST", { bucket, kind: "object", key })));
  const { upload_id: upload } = (await created.json()) as { upload_id: string };
  await ok(gateway.request(`/api/uploads/${upload}/parts/1`, { method: "PUT", body: bytes }));
  await ok(gateway.request(`/api/uploads/${upload}/complete`, json("POST", { parts: 1 })));
  const [row] = await gateway.database.sql.query({
    text: "SELECT id FROM objects WHERE key = $1 AND state = 'live' AND content_hash = $2",
    values: [key, kernels.blake3.hash(bytes)],
  });
  return row?.["id"] as string;
}

function json(method: string, body: unknown): RequestInit {
  return { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
}

async function ok(answer: Promise<Response>): Promise<Response> {
  const response = await answer;
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${await response.text()}`);
  return response;
}

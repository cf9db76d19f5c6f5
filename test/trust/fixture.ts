/** Users, their keys and a dataset of one of them, in a real gateway. */
import { randomBytes } from "node:crypto";
import { DataStreamClient } from "../../client/client.ts";
import { type SigningKey, statementOf } from "../../client/keys.ts";
import { DATASET_STATEMENT_TYPE, encodeDatasetStatement } from "../../core/trust/dataset-statement.ts";
import { type Envelope, signEnvelope } from "../../core/trust/dsse.ts";
import { type KeyPair, keyPairOf } from "../../core/trust/ed25519.ts";
import type { KnownKey } from "../../core/trust/known-keys.ts";
import type { UploadFile } from "../../client/uploads.ts";
import type { Role } from "../../catalog/users.ts";
import { addUser } from "../api/users.ts";
import { startGateway, type TestGateway, type TestGatewayOptions } from "../support/gateway.ts";

export interface Person {
  readonly userId: string;
  readonly apiKey: string;
  readonly client: DataStreamClient;
}

/** A gateway with two versions of `owner/words`, each of `files` texts of `bytes` bytes. */
export async function startWords(
  files: number,
  bytes = 100,
  options: TestGatewayOptions = {},
): Promise<TestGateway> {
  const gateway = await startGateway(options);
  const { client } = ownerOf(gateway);
  await gateway.request("/api/buckets/words", { method: "PUT" });
  await client.uploadFolder({ bucket: "words", prefix: "" }, texts(files, bytes));
  for (let version = 1; version <= 2; version++)
    await client.datasets.create({
      name: "words",
      files: ["words/**/*.txt"],
      schema: { type: "text", format: "txt", labels: "path" },
    });
  return gateway;
}

/** In path order: first the even ones. */
async function* texts(files: number, bytes: number): AsyncGenerator<UploadFile> {
  for (const [rest, folder] of ["even", "odd"].entries())
    for (let i = rest; i < files; i += 2)
      yield {
        path: `${folder}/${String(i).padStart(4, "0")}.txt`,
        blob: new Blob([`word ${i} `.padEnd(bytes, ".")]),
      };
}

export function ownerOf(gateway: TestGateway): Person {
  return personOf(gateway, gateway.owner);
}

export async function person(gateway: TestGateway, name: string, role: Role = "owner"): Promise<Person> {
  return personOf(gateway, await addUser(gateway, name, role));
}

export function clientOf(
  gateway: TestGateway,
  options: { apiKey?: string; knownKeys?: readonly KnownKey[]; fetch?: typeof fetch },
): DataStreamClient {
  const retry = { attempts: 1, firstDelayMs: 0, maxDelayMs: 0 };
  return new DataStreamClient({ gateway: gateway.url, retry, ...options });
}

function personOf(gateway: TestGateway, { userId, apiKey }: { userId: string; apiKey: string }): Person {
  return { userId, apiKey, client: clientOf(gateway, { apiKey }) };
}

/** Lets a user read and stream a version of the gateway's owner. */
export async function share(gateway: TestGateway, datasetId: string, userId: string): Promise<void> {
  await gateway.database.sql.query({
    text: "SELECT put_share($1, $2, $3, '{read,stream}', NULL)",
    values: [datasetId, gateway.owner.userId, userId],
  });
}

export interface RegisteredKey {
  readonly key: KeyPair;
  readonly registered: SigningKey;
}

export async function newKey({ client }: Person, name: string): Promise<RegisteredKey> {
  const key = keyPairOf(new Uint8Array(randomBytes(32)));
  return { key, registered: await client.keys.register(name, key) };
}

/** The signed statement of a version as its owner sees it, with fields changed where a test says so. */
export async function signed(
  { client }: Person,
  reference: string,
  key: KeyPair,
  changes: Record<string, unknown> = {},
): Promise<Envelope> {
  const statement = { ...statementOf(await client.datasets.get(reference)), ...changes };
  return signEnvelope(DATASET_STATEMENT_TYPE, encodeDatasetStatement(statement), key);
}

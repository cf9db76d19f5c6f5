/** What the companion shows to gateways, and what it wants to see of those who call it from elsewhere. */
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { join } from "node:path";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createProof } from "../../../client/proof.ts";
import { toBase64 } from "../../../core/base64.ts";
import { toHex } from "../../../core/bytes.ts";
import { keyPairOf } from "../../../core/trust/ed25519.ts";
import { DataStreamService } from "../../../proto/index.ts";
import { createCertificate } from "../../../scripts/certificates.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../../stream/fixture.ts";
import { startTlsEdge, type TlsEdge } from "../../tokens/tls-edge.ts";
import { startCompanion, type TestCompanion } from "./companions.ts";
import { HandoffClient } from "./handoff-client.ts";

const FILES = 20;
const SECRET = "not-a-secret-but-long-enough";
let gateway: StreamGateway;
let edge: TlsEdge;
let dataset: TestDataset;
let scratch: TestCompanion;
beforeAll(async () => {
  gateway = await startStreamGateway();
  edge = await startTlsEdge(gateway);
  dataset = await addDataset(
    gateway,
    noiseFiles(FILES, () => 100),
  );
  scratch = await startCompanion({ gateway: gateway.url });
});
afterAll(async () => {
  await scratch.close();
  edge.stop();
  await gateway.stop();
});

const file = (name: string, content: string): string => {
  const path = join(scratch.folder, name);
  writeFileSync(path, content, { mode: 0o600 });
  return path;
};

async function boundToken(node: string): Promise<string> {
  const response = await gateway.request(`/api/datasets/${dataset.id}/tokens`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ scopes: ["read", "stream"], node }),
  });
  return ((await response.json()) as { token: string }).token;
}

/** Items that a trainer gets, or the code that it is refused with. */
async function trained({ socket }: TestCompanion, token: string): Promise<number | string> {
  const client = await HandoffClient.connect(socket);
  client.send({ type: "open", dataset: dataset.name, access_token: token, batch_size: 4 });
  const opened = await client.next();
  if (opened?.type === "error") {
    await client.closed();
    return opened.code;
  }
  client.kill();
  const again = await HandoffClient.connect(socket);
  await again.open({ dataset: dataset.name, access_token: token, batch_size: 4 });
  let items = 0;
  for await (const batch of again.batches()) items += batch.count;
  again.kill();
  return items;
}

test("a token that is bound to the node's key works with that key alone, for every call", async () => {
  const key = keyPairOf(new Uint8Array(randomBytes(32)));
  const dpop = await createProof(key, {
    method: "POST",
    url: new URL("/api/training-nodes", gateway.url).href,
    credential: gateway.owner.apiKey,
  });
  const registered = await gateway.request("/api/training-nodes", {
    method: "POST",
    headers: { "content-type": "application/json", dpop },
    body: JSON.stringify({ name: "keyed" }),
  });
  expect(registered.status).toBe(201);
  const token = await boundToken("keyed");
  expect(await trained(scratch, token)).toBe("unauthenticated");

  const content = { version: 1, public_key: toHex(key.publicKey), seed: toBase64(key.seed) };
  const own = await startCompanion({
    gateway: gateway.url,
    node_key: file("node.json", JSON.stringify(content)),
  });
  expect(await trained(own, token)).toBe(FILES);
  const client = createClient(DataStreamService, createGrpcTransport({ baseUrl: own.url }));
  const request = { datasetId: dataset.name, accessToken: token, batchSize: 8, streamId: "bound" };
  expect(await client.getDatasetInfo(request)).toMatchObject({ fileCountExact: BigInt(FILES) });
  for await (const batch of client.streamBatches(request)) {
    const { lease, batchIndex, transcriptHead } = batch;
    await client.ackBatches({ ...request, lease, batchIndex, transcriptHead });
  }
  expect((await client.getReceipt(request)).payload.byteLength).toBeGreaterThan(100);
  await own.close();
});

test("a token that is bound to a certificate works over TLS with that certificate", async () => {
  const certificate = createCertificate("node-1", edge.authority);
  const registered = await edge.request("POST", "/api/training-nodes", {
    certificate,
    headers: { authorization: `Bearer ${gateway.owner.apiKey}` },
    json: { name: "certified" },
  });
  expect(registered).toMatchObject({
    status: 201,
    body: { certificate_sha256: createHash("sha256").update(certificate.raw).digest("hex") },
  });
  const token = await boundToken("certified");
  const gateway_ca = file("ca.pem", edge.authority.pem.cert);
  const without = await startCompanion({ gateway: edge.url, gateway_ca });
  expect(await trained(without, token)).toBe("unauthenticated");
  await without.close();

  const own = await startCompanion({
    gateway: edge.url,
    gateway_ca,
    client_certificate: file("client.pem", certificate.pem.cert),
    client_key: file("client.key", certificate.pem.key),
  });
  expect(await trained(own, token)).toBe(FILES);
  const client = createClient(DataStreamService, createGrpcTransport({ baseUrl: own.url }));
  expect(await client.getDatasetInfo({ datasetId: dataset.name, accessToken: token })).toMatchObject({
    fileCountExact: BigInt(FILES),
  });
  await own.close();
});

describe("with TLS and a secret", () => {
  const identity = createCertificate("companion", createCertificate("ca"));
  let guarded: TestCompanion;
  beforeAll(async () => {
    guarded = await startCompanion({
      gateway: gateway.url,
      tls_certificate: file("tls.pem", identity.pem.cert),
      tls_key: file("tls.key", identity.pem.key),
      secret_file: file("secret", `${SECRET}\n`),
    });
  });
  afterAll(() => guarded.close());

  const ask = (path: string, headers: Record<string, string>): Promise<number> =>
    new Promise((resolve, reject) => {
      httpsRequest(
        guarded.url + path,
        { headers, ca: identity.pem.cert, rejectUnauthorized: false },
        (response) => resolve(response.resume().statusCode ?? 0),
      )
        .on("error", reject)
        .end();
    });

  test.each([
    ["no secret", {}, 401],
    ["another", { authorization: `Bearer ${SECRET}x` }, 401],
    ["its beginning", { authorization: `Bearer ${SECRET.slice(0, -1)}` }, 401],
    ["an empty one", { authorization: "Bearer " }, 401],
    ["in another scheme", { authorization: `Basic ${SECRET}` }, 401],
    [
      "another in the header of its own, whatever else is right",
      { "cyxcloud-companion-secret": "x", authorization: `Bearer ${SECRET}` },
      401,
    ],
    ["the right one", { authorization: `Bearer ${SECRET}` }, 200],
    ["the right one in the header of its own", { "cyxcloud-companion-secret": SECRET }, 200],
  ])("%s: %j", async (_, headers, status) => {
    expect(await ask("/metrics", headers)).toBe(status);
    expect(await ask("/healthz", headers)).toBe(200);
  });

  test("gRPC over TLS, with the secret beside the caller's own credentials", async () => {
    const nodeOptions = { ca: identity.pem.cert, rejectUnauthorized: false };
    const client = createClient(
      DataStreamService,
      createGrpcTransport({ baseUrl: guarded.url, nodeOptions }),
    );
    const { token } = await dataset.token();
    const request = { datasetId: dataset.name, accessToken: token, batchSize: 8 };
    await expect(client.getDatasetInfo(request)).rejects.toMatchObject({ code: Code.Unauthenticated });
    const bearer = { headers: { authorization: `Bearer ${SECRET}` } };
    let items = 0;
    for await (const batch of client.streamBatches(request, bearer)) items += batch.items.length;
    expect(items).toBe(FILES);
    const both = {
      headers: { authorization: `Bearer ${gateway.owner.apiKey}`, "cyxcloud-companion-secret": SECRET },
    };
    const made = await client.createAccessToken({ datasetId: dataset.name, scopes: ["read"] }, both);
    expect(made.scopes).toEqual(["read"]);
  });

  test("the secret reaches neither log nor gateway", () => {
    expect(JSON.stringify(guarded.log)).not.toContain(SECRET);
  });
});

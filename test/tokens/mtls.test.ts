/** Tokens that are bound to a client certificate, over real TLS. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { clientCertificate } from "../../functions/client-certificate.ts";
import {
  addDataset,
  noiseFiles,
  startStreamGateway,
  type StreamGateway,
  type TestDataset,
} from "../stream/fixture.ts";
import { type Certificate, createCertificate } from "../../scripts/certificates.ts";
import { startTlsEdge, type TlsEdge } from "./tls-edge.ts";

let gateway: StreamGateway;
let edge: TlsEdge;
let dataset: TestDataset;
beforeAll(async () => {
  gateway = await startStreamGateway();
  edge = await startTlsEdge(gateway);
  dataset = await addDataset(
    gateway,
    noiseFiles(2, () => 10),
  );
});
afterAll(async () => {
  edge.stop();
  await gateway.stop();
});

const fingerprint = ({ raw }: Certificate): string => createHash("sha256").update(raw).digest("hex");
const owner = (): Record<string, string> => ({ authorization: `Bearer ${gateway.owner.apiKey}` });
const register = (name: string, certificate?: Certificate): ReturnType<TlsEdge["request"]> =>
  edge.request("POST", "/api/training-nodes", { certificate, headers: owner(), json: { name } });

test("a token that is bound to a certificate works over connections with that certificate alone", async () => {
  const mine = createCertificate("node-1", edge.authority);
  const other = createCertificate("node-2", edge.authority);
  const { status, body } = await register("node-1", mine);
  expect(status).toBe(201);
  expect(body).toMatchObject({ certificate_sha256: fingerprint(mine), public_key: null });
  const issued = await edge.request("POST", `/api/datasets/${dataset.id}/tokens`, {
    headers: owner(),
    json: { scopes: ["read"], node: "node-1" },
  });
  const token = issued.body["token"] as string;
  const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as object;
  expect(claims).toMatchObject({
    cnf: { "x5t#S256": Buffer.from(fingerprint(mine), "hex").toString("base64url") },
  });

  const get = async (certificate?: Certificate, headers: Record<string, string> = {}): Promise<number> =>
    (
      await edge.request("GET", `/api/datasets/${dataset.id}`, {
        certificate,
        headers: { authorization: `Bearer ${token}`, ...headers },
      })
    ).status;
  expect(await get(mine)).toBe(200);
  expect(await get()).toBe(401);
  expect(await get(other)).toBe(401);
  // The same name and key would not help: it is another certificate, and nobody vouches for it.
  expect(await get(createCertificate("node-1"))).toBe(401);
  const claimed = fingerprint(mine);
  expect(
    await get(undefined, {
      "cf-client-cert-sha256": claimed,
      "x-client-cert-sha256": claimed,
      "x-forwarded-client-cert": `Hash=${claimed}`,
      "client-cert": `:${mine.raw.toString("base64")}:`,
      dpop: "eyJ.e30.",
    }),
  ).toBe(401);
  edge.revoked.add(mine);
  expect(await get(mine)).toBe(401);
  edge.revoked.delete(mine);
  expect(await get(mine)).toBe(200);
});

test("no node is registered with a certificate that is not verified, or is revoked", async () => {
  expect((await register("x")).status).toBe(400);
  expect((await register("x", createCertificate("stranger"))).status).toBe(400);
  const revoked = createCertificate("revoked", edge.authority);
  edge.revoked.add(revoked);
  expect((await register("x", revoked)).status).toBe(400);
  edge.revoked.delete(revoked);
  expect((await register("x", revoked)).status).toBe(201);
});

const GOOD = {
  certPresented: "1",
  certVerified: "SUCCESS",
  certRevoked: "0",
  certFingerprintSHA256: "AB".repeat(32),
};

test("the platform's word counts in this one form", () => {
  expect(clientCertificate({ tlsClientAuth: GOOD })).toEqual(new Uint8Array(32).fill(0xab));
});

test.each([
  [{ certPresented: "0" }],
  [{ certVerified: "NONE" }],
  [{ certVerified: "FAILED:certificate has expired" }],
  [{ certRevoked: "1" }],
  [{ certRevoked: undefined }],
  [{ certRevoked: false }],
  [{ certFingerprintSHA256: "" }],
  [{ certFingerprintSHA256: "ab".repeat(20) }],
  [{ certFingerprintSHA256: undefined }],
])("%j is no certificate", (change) => {
  expect(clientCertificate({ tlsClientAuth: { ...GOOD, ...change } })).toBeUndefined();
});

test.each([[undefined], [null], [{}], [{ tlsClientAuth: null }], [{ tlsClientAuth: "SUCCESS" }]])(
  "nothing is known of a connection of which the platform says %j",
  (cf) => {
    expect(clientCertificate(cf)).toBeUndefined();
  },
);

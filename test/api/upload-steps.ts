/** The steps of an upload over REST, every answer held against the OpenAPI document. */
import { request as httpRequest } from "node:http";
import { expect } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type DocumentedClient, documentedClient, type JsonAnswer } from "./documented.ts";

/** Chunk size of the bucket `data`. */
const CHUNK = 16_384;

export interface UploadSteps {
  readonly gateway: TestGateway;
  readonly client: DocumentedClient;
  begin(body: Record<string, unknown>): Promise<string>;
  put(upload: string, part: number | string, bytes: Uint8Array): Promise<JsonAnswer>;
  complete(upload: string, parts: number, more?: Record<string, unknown>): Promise<JsonAnswer>;
  keys(prefix: string): Promise<string[]>;
  download(key: string, headers?: HeadersInit): Promise<{ response: Response; bytes: Buffer }>;
  /** A part whose declared length is not what is sent, as no fetch would let us. */
  rawPut(
    upload: string,
    declared: number,
    sent: Uint8Array,
    end?: "cut",
  ): Promise<Omit<JsonAnswer, "headers">>;
}

/** A gateway with the bucket `data`. Stop `gateway` in `afterAll`. */
export async function uploadSteps(): Promise<UploadSteps> {
  const gateway = await startGateway();
  const client = await documentedClient(gateway);
  await client.json("PUT", "/api/buckets/data", { chunk_bytes: CHUNK });
  return {
    gateway,
    client,
    async begin(body) {
      const answer = await client.json("POST", "/api/uploads", { bucket: "data", ...body });
      expect(answer).toMatchObject({ status: 201 });
      return answer.body.upload_id as string;
    },
    async put(upload, part, bytes) {
      const response = await client.request(`/api/uploads/${upload}/parts/${part}`, {
        method: "PUT",
        body: bytes as Uint8Array<ArrayBuffer>,
      });
      return { status: response.status, headers: response.headers, body: await response.json() };
    },
    complete: (upload, parts, more = {}) =>
      client.json("POST", `/api/uploads/${upload}/complete`, { parts, ...more }),
    async keys(prefix) {
      const answer = await client.json(
        "GET",
        `/api/objects?bucket=data&prefix=${encodeURIComponent(prefix)}`,
      );
      return (answer.body.objects as { key: string }[]).map(({ key }) => key);
    },
    async download(key, headers = {}) {
      const response = await client.request(`/api/objects/data/${key}`, { headers });
      return { response, bytes: Buffer.from(await response.arrayBuffer()) };
    },
    rawPut: (upload, declared, sent, end) => rawPut(gateway, upload, declared, sent, end),
  };
}

function rawPut(
  gateway: TestGateway,
  upload: string,
  declared: number,
  sent: Uint8Array,
  end?: "cut",
): Promise<Omit<JsonAnswer, "headers">> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(new URL(`/api/uploads/${upload}/parts/1`, gateway.url), {
      method: "PUT",
      headers: { authorization: `Bearer ${gateway.owner.apiKey}`, "content-length": declared },
    });
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
        resolve({ status: response.statusCode ?? 0, body });
        outgoing.destroy();
      });
    });
    outgoing.write(sent, () => {
      if (end === "cut") outgoing.destroy(new Error("cut"));
    });
    if (sent.length === 0) outgoing.flushHeaders();
  });
}

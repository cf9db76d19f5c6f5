/** A real gateway with a small dataset of images: item i is grey value i all over. */
import { encode } from "fast-png";
import { DataStreamClient } from "../../../client/client.ts";
import { startGateway, type TestGateway } from "../../support/gateway.ts";

export const FILES = 50;
export const SIDE = 6;
export const ITEM_BYTES: number = SIDE * SIDE;
export const DATASET = "letters";

export interface Letters {
  readonly gateway: TestGateway;
  /** Acts as the owner. */
  readonly client: DataStreamClient;
  readonly token: string;
  stop(): Promise<void>;
}

export async function startLetters(): Promise<Letters> {
  const gateway = await startGateway();
  const client = new DataStreamClient({ gateway: gateway.url, apiKey: gateway.owner.apiKey });
  await client.objects.ensureBucket(DATASET, { chunkBytes: 16 * 1024 });
  await client.uploadFolder({ bucket: DATASET, prefix: "" }, files());
  const schema = { type: "image", format: "png", labels: "path" };
  await client.datasets.create({ name: DATASET, files: [`${DATASET}/**`], schema });
  const { token } = await client.datasets.createToken(DATASET);
  return { gateway, client, token, stop: () => gateway.stop() };
}

async function* files(): AsyncGenerator<{ path: string; blob: Blob }> {
  for (let i = 0; i < FILES; i++) {
    const data = new Uint8Array(ITEM_BYTES).fill(i);
    const bytes = encode({ width: SIDE, height: SIDE, data, depth: 8, channels: 1 });
    yield {
      path: `${classOf(i)}/${String(i).padStart(3, "0")}.png`,
      blob: new Blob([bytes as Uint8Array<ArrayBuffer>]),
    };
  }
}

export function classOf(item: number): "a" | "b" {
  return item < FILES / 2 ? "a" : "b";
}

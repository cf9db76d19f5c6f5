import { beforeAll, describe, expect, test } from "vitest";
import { DataStreamClient } from "../../client/client.ts";
import { MemoryPinStore, type PinStore } from "../../client/pins.ts";
import { VerificationError } from "../../client/verification-error.ts";
import { toHex } from "../../core/bytes.ts";
import type { Blake3 } from "../../core/ports.ts";
import { loadKernels } from "../../kernels/index.ts";
import { describe as describeVersion, GatewayDouble, someFiles, type DoubleFile } from "./double.ts";

const FILES = 40;
let blake3: Blake3;
beforeAll(async () => {
  ({ blake3 } = await loadKernels({ heapBytes: 1 << 20 }));
});

function clientOf(double: GatewayDouble, pins: PinStore): DataStreamClient {
  return new DataStreamClient({
    gateway: "http://double.test",
    accessToken: "token",
    fetch: double.fetch,
    pins,
    retry: { attempts: 2, firstDelayMs: 0, maxDelayMs: 0 },
  });
}

async function streamAll(client: DataStreamClient, dataset: string, schemaHash?: string): Promise<number> {
  let items = 0;
  const options = {
    dataset,
    batchSize: 8,
    shuffle: true,
    seed: 7,
    ...(schemaHash === undefined ? {} : { schemaHash }),
  };
  for await (const batch of client.streamBatches(options)) items += batch.items.length;
  return items;
}

/** Every way a gateway may lie, and what the client must name. Each bends an honest double. */
const LIES: Record<string, { subject: RegExp; tell: (double: GatewayDouble) => void }> = {
  "an item's bytes": {
    subject: /^item$/,
    tell: (double) => {
      double.lies.batch = (batch) => flip(batch.items[3] as Uint8Array);
    },
  },
  "an item and its hash": {
    subject: /^item hash$/,
    tell: (double) => {
      double.lies.batch = (batch) => {
        flip(batch.items[3] as Uint8Array);
        batch.itemHashes[3] = blake3.hash(batch.items[3] as Uint8Array);
      };
    },
  },
  "an item's hash alone": {
    subject: /^item hash$/,
    tell: (double) => {
      double.lies.batch = (batch) => flip(batch.itemHashes[0] as Uint8Array);
    },
  },
  "the manifest": {
    subject: /^manifest$/,
    tell: (double) => flip(double.version.manifest.subarray(200)),
  },
  "the schema, under its own old hash": {
    subject: /^schema$/,
    tell: (double) => {
      double.version.info["schema"] = { ...(double.version.info["schema"] as object), classes: ["b", "a"] };
    },
  },
  "the schema and its hash": {
    subject: /^schema$/,
    tell: (double) => {
      const swapped = { type: "bytes", format: "bin", labels: "path", classes: ["b", "a"] };
      const lying = describeVersion(double.version.files, blake3, 1);
      double.version.info = { ...lying.info, schema: swapped, schema_hash: schemaHashOf(swapped) };
    },
  },
  "the content hash, with a manifest that fits it": {
    subject: /^content hash$/,
    tell: (double) => {
      double.version = describeVersion(someFiles(FILES, 99), blake3, 1);
    },
  },
  "the order": {
    subject: /^order$/,
    tell: (double) => {
      double.lies.batch = (batch) => {
        for (const list of [batch.items, batch.itemHashes, batch.itemIndices] as unknown[][]) list.reverse();
      };
    },
  },
  is_last: {
    subject: /^is_last$/,
    tell: (double) => {
      double.lies.batch = (batch) => {
        batch.isLast = batch.batchIndex === 1n;
      };
    },
  },
  "how many batches there are": {
    subject: /^total batches$/,
    tell: (double) => {
      double.lies.batch = (batch) => {
        batch.totalBatches = 3n;
        batch.isLast = batch.batchIndex === 2n;
      };
    },
  },
  "the transcript": {
    subject: /^transcript$/,
    tell: (double) => {
      double.lies.batch = (batch) => flip(batch.transcriptHead);
    },
  },
  "the batch hash": {
    subject: /^batch hash$/,
    tell: (double) => {
      double.lies.batch = (batch) => flip(batch.batchHash);
    },
  },
  "a batch index": {
    subject: /^batch index$/,
    tell: (double) => {
      double.lies.batch = (batch) => {
        batch.batchIndex += 1n;
      };
    },
  },
  "whose stream it is": {
    subject: /^stream$/,
    tell: (double) => {
      double.lies.batch = (batch) => {
        batch.epoch = 5;
      };
    },
  },
};

describe.each(Object.entries(LIES))("a gateway that lies about %s", (_name, { subject, tell }) => {
  test("is caught when the content and schema hashes are pinned", async () => {
    const double = new GatewayDouble(someFiles(FILES), blake3);
    const reference = `letters@blake3:${String(double.version.info["content_hash"])}`;
    const schemaHash = String(double.version.info["schema_hash"]);
    expect(await streamAll(clientOf(double, new MemoryPinStore()), reference, schemaHash)).toBe(FILES);

    tell(double);
    double.requests.length = 0;
    const caught = await streamAll(clientOf(double, new MemoryPinStore()), reference, schemaHash).catch(
      (error: unknown) => error,
    );
    expect(caught).toBeInstanceOf(VerificationError);
    expect((caught as VerificationError).mismatch.subject).toMatch(subject);
    expect((caught as VerificationError).code).toBe("data_loss");
    // Bytes may have changed on the way; whoever lies about anything else is not asked again.
    expect(double.requests.length).toBe(subject.test("item") ? 3 : Math.min(1, double.requests.length));
  });

  test("is caught without a pin, after first use", async () => {
    const double = new GatewayDouble(someFiles(FILES), blake3);
    const pins = new MemoryPinStore();
    expect(await streamAll(clientOf(double, pins), "letters")).toBe(FILES);

    tell(double);
    const caught = await streamAll(clientOf(double, pins), "letters").catch((error: unknown) => error);
    expect(caught).toBeInstanceOf(VerificationError);
    expect((caught as VerificationError).mismatch.subject).toMatch(subject);
  });
});

describe("an old version served as the newest", () => {
  const versions = (): [DoubleFile[], DoubleFile[]] => [someFiles(FILES, 1), someFiles(FILES, 2)];

  test("is caught after first use", async () => {
    const [old, current] = versions();
    const double = new GatewayDouble(current, blake3, 2);
    const pins = new MemoryPinStore();
    expect(await streamAll(clientOf(double, pins), "letters")).toBe(FILES);
    double.version = describeVersion(old, blake3, 1);
    await expect(streamAll(clientOf(double, pins), "letters")).rejects.toThrow(
      /version.*expected 2 or newer.*got 1/,
    );
  });

  test("is caught under the number of the new one", async () => {
    const [old, current] = versions();
    const double = new GatewayDouble(current, blake3, 2);
    const pins = new MemoryPinStore();
    expect(await streamAll(clientOf(double, pins), "letters@2")).toBe(FILES);
    double.version = describeVersion(old, blake3, 2);
    await expect(streamAll(clientOf(double, pins), "letters@2")).rejects.toThrow(/content hash/);
  });

  test("is caught by a pinned hash", async () => {
    const [old, current] = versions();
    const double = new GatewayDouble(current, blake3, 2);
    const reference = `letters@blake3:${String(double.version.info["content_hash"])}`;
    double.version = describeVersion(old, blake3, 1);
    await expect(streamAll(clientOf(double, new MemoryPinStore()), reference)).rejects.toThrow(
      /content hash/,
    );
  });

  test("a newer version than the remembered one is no lie", async () => {
    const [old, current] = versions();
    const double = new GatewayDouble(old, blake3, 1);
    const pins = new MemoryPinStore();
    expect(await streamAll(clientOf(double, pins), "letters")).toBe(FILES);
    double.version = describeVersion(current, blake3, 2);
    expect(await streamAll(clientOf(double, pins), "letters")).toBe(FILES);
  });
});

test("a mismatch names item, path, and both hashes, and delivers nothing of the batch", async () => {
  const double = new GatewayDouble(someFiles(FILES), blake3);
  let received = 0;
  double.lies.batch = (batch) => {
    if (batch.batchIndex === 2n) flip(batch.items[5] as Uint8Array);
  };
  const caught = (await (async () => {
    for await (const batch of clientOf(double, new MemoryPinStore()).streamBatches({
      dataset: "letters",
      batchSize: 8,
    })) {
      received += batch.items.length;
    }
    return undefined;
  })().catch((error: unknown) => error)) as VerificationError;
  expect(received).toBe(16);
  const file = double.version.files[21] as DoubleFile;
  const flipped = file.bytes.slice();
  flip(flipped);
  expect(caught.mismatch).toMatchObject({
    subject: "item",
    batch: 2,
    item: 21,
    path: file.path,
    expected: toHex(blake3.hash(file.bytes)),
    actual: toHex(blake3.hash(flipped)),
  });
});

function flip(bytes: Uint8Array): void {
  bytes[0] = (bytes[0] as number) ^ 1;
}

function schemaHashOf(schema: object): string {
  // Keys in canonical order already: the hash of RFC 8785 text, written out by hand.
  const { classes, format, labels, type } = schema as Record<string, unknown>;
  return toHex(blake3.hash(new TextEncoder().encode(JSON.stringify({ classes, format, labels, type }))));
}

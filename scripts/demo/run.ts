/** The main job from end to end: what `npm run demo` shows, as one function. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { DataStreamClient } from "../../client/client.ts";
import { streamTensors, type TensorBatch } from "../../companion/index.ts";
import { toHex } from "../../core/bytes.ts";
import { loadKernels } from "../../kernels/index.ts";
import { startStack, type Stack } from "../stack/index.ts";
import { Classifier } from "./classifier.ts";
import { contactSheet } from "./contact-sheet.ts";
import { corruptShard, emptyNode } from "./damage.ts";
import { createDigits, DIGITS_DATASET, uploadDigits } from "./dataset.ts";
import { DIGIT_CLASSES, DIGIT_PIXELS, DIGIT_SIDE } from "./digits.ts";

const BATCH_SIZE = 32;
const EPOCHS = 10;
const SEED = 20_260_701;
const HIDDEN_UNITS = 48;
const LEARNING_RATE = 0.1;
const MOMENTUM = 0.9;
const BYTE_MAX = 255;
/** Two nodes may be lost at once with four data and two parity shards. */
const LOST_NODES = [2, 5] as const;
const CORRUPT_NODE = 4;

export interface DemoResult {
  readonly files: number;
  readonly bytes: number;
  readonly chunks: number;
  readonly shards: number;
  readonly nodes: number;
  readonly batches: number;
  readonly items: number;
  readonly items_verified: number;
  readonly mb_per_second: number;
  readonly accuracy: number;
  readonly healed_shards: number;
  readonly identical_after_loss: boolean;
  readonly picture: string;
}

export interface DemoOptions {
  readonly picture: string;
  /** One line of what is happening now. */
  readonly say: (line: string) => void;
  readonly onStackReady: () => void;
}

export async function runDemo({ picture, say, onStackReady }: DemoOptions): Promise<DemoResult> {
  let stack: Stack | undefined;
  try {
    say("Starting PostgreSQL, the gateway and six storage nodes");
    stack = await startStack({ onLog: () => undefined });
    onStackReady();
    return await new Demo(stack, say).run(picture);
  } finally {
    await stack?.stop();
  }
}

interface Streamed {
  batches: number;
  items: number;
  bytes: number;
  seconds: number;
  /** Transcript head at the end of each epoch. */
  transcripts: string[];
}

interface RewrittenShard {
  readonly chunk_id: string;
  readonly shard_index: number;
  readonly generation: number;
  readonly node: string;
  readonly hash: string;
}

class Demo {
  readonly #stack: Stack;
  readonly #say: (line: string) => void;
  readonly #client: DataStreamClient;
  #token = "";

  constructor(stack: Stack, say: (line: string) => void) {
    this.#stack = stack;
    this.#say = say;
    this.#client = new DataStreamClient({ gateway: stack.gatewayUrl, apiKey: stack.apiKey });
  }

  async run(picture: string): Promise<DemoResult> {
    await uploadDigits(this.#client, this.#say);
    const dataset = await this.#createDataset();
    const classifier = new Classifier(DIGIT_PIXELS, HIDDEN_UNITS, DIGIT_CLASSES, SEED);

    this.#say(`Training on shuffled, verified batches for ${EPOCHS} epochs`);
    const first = await this.#train((batch) => {
      classifier.train(normalised(batch), batch.labels as Int32Array, {
        learningRate: LEARNING_RATE,
        momentum: MOMENTUM,
      });
    });
    const accuracy = await this.#evaluate(classifier, picture);
    const identical: boolean[] = [];
    let healed = 0;
    const streamAgain = async (): Promise<void> => {
      await this.#stack.gateway.restart();
      const again = await this.#train(() => undefined);
      identical.push(again.transcripts.join() === first.transcripts.join());
      healed += await this.#repair();
    };

    for (const node of LOST_NODES) {
      const lost = await emptyNode(this.#stack.gateway, node);
      this.#say(`Emptied storage node ${node}: ${lost} shards lost`);
    }
    this.#say("Restarted the gateway without a cache; streaming the same epochs again");
    await streamAgain();
    await corruptShard(this.#stack.gateway, CORRUPT_NODE, await this.#dataShardOn(CORRUPT_NODE));
    this.#say(
      `Flipped one bit of a shard on node ${CORRUPT_NODE}; restarted, streaming the same epochs again`,
    );
    await streamAgain();

    const stored = await this.#countStored();
    return {
      files: dataset.file_count,
      bytes: dataset.total_size_bytes,
      ...stored,
      batches: first.batches,
      items: first.items,
      items_verified: first.items,
      mb_per_second: first.bytes / 1e6 / first.seconds,
      accuracy,
      healed_shards: healed,
      identical_after_loss: identical.every(Boolean),
      picture,
    };
  }

  async #createDataset(): Promise<{ file_count: number; total_size_bytes: number }> {
    this.#say("Creating and verifying the dataset");
    const dataset = await createDigits(this.#client);
    const verification = await this.#client.datasets.verify(DIGITS_DATASET, { depth: "full" });
    if (!verification.manifest_valid || !verification.all_files_valid)
      throw new Error("The new dataset does not verify.");
    this.#token = (await this.#client.datasets.createToken(DIGITS_DATASET)).token;
    return dataset;
  }

  async #train(step: (batch: TensorBatch) => void): Promise<Streamed> {
    const streamed: Streamed = { batches: 0, items: 0, bytes: 0, seconds: 0, transcripts: [] };
    const started = performance.now();
    for await (const batch of this.#tensors("train/", EPOCHS)) {
      step(batch);
      streamed.batches += 1;
      streamed.items += batch.source.indices.length;
      streamed.bytes += batch.bytes;
      if (batch.source.isLast) streamed.transcripts.push(toHex(batch.source.transcriptHead));
    }
    streamed.seconds = (performance.now() - started) / 1000;
    return streamed;
  }

  #tensors(prefix: string, epochs: number): AsyncGenerator<TensorBatch, void, undefined> {
    return streamTensors(this.#client, {
      dataset: DIGITS_DATASET,
      accessToken: this.#token,
      batchSize: BATCH_SIZE,
      shuffle: "full",
      seed: SEED,
      epochs,
      filter: { prefix },
    });
  }

  /** Share of held-out images that the model names rightly; writes a picture of the first batch. */
  async #evaluate(classifier: Classifier, picture: string): Promise<number> {
    let right = 0;
    let total = 0;
    for await (const batch of this.#tensors("held-out/", 1)) {
      const labels = batch.labels as Int32Array;
      const predictions = classifier.predict(normalised(batch), labels.length);
      for (const [n, label] of labels.entries()) if (predictions[n] === label) right += 1;
      if (total === 0) {
        const images = (batch.data as Uint8Array).slice();
        mkdirSync(dirname(picture), { recursive: true });
        writeFileSync(picture, contactSheet({ images, side: DIGIT_SIDE, labels, predictions }));
      }
      total += labels.length;
    }
    return right / total;
  }

  /** Finds what is missing, has it rewritten, and re-reads every rewritten shard from its bucket. */
  async #repair(): Promise<number> {
    const gateway = this.#client.gateway;
    await gateway.json("POST", "/api/admin/scrub", { json: {} });
    const { blake3 } = await loadKernels({ heapBytes: 1024 * 1024 });
    let healed = 0;
    for (;;) {
      const repair = await gateway.json<{ failed: number; remaining: number; shards: RewrittenShard[] }>(
        "POST",
        "/api/admin/repair",
        { json: {} },
      );
      if (repair.failed > 0) throw new Error(`${repair.failed} shards could not be repaired.`);
      for (const shard of repair.shards) {
        const bucket = await this.#stack.gateway.bucket(Number(shard.node.split("-")[1]));
        const stored = await bucket.get(`${shard.chunk_id}/${shard.shard_index}.${shard.generation}`);
        const hash =
          stored === null ? "absent" : toHex(blake3.hash(new Uint8Array(await stored.arrayBuffer())));
        if (hash !== shard.hash)
          throw new Error(`Shard ${shard.chunk_id}/${shard.shard_index} was not rewritten: ${hash}.`);
      }
      healed += repair.shards.length;
      if (repair.remaining === 0) break;
    }
    this.#say(`Repaired ${healed} shards; each was read back and hashed`);
    return healed;
  }

  /** A data shard on a node, which a stream is bound to read. */
  async #dataShardOn(node: number): Promise<string> {
    const [row] = await this.#stack.sql.query({
      text: `select s.chunk_id, s.shard_index, s.generation
             from shards s join storage_nodes n on n.id = s.node_id join chunks c on c.id = s.chunk_id
             join extents e on e.chunk_id = c.id join dataset_files f on f.object_id = e.object_id
             where n.name = $1 and s.shard_index < c.data_shards and f.path_in_dataset like 'train/%'
             order by s.chunk_id limit 1`,
      values: [`node-${node}`],
    });
    if (row === undefined) throw new Error(`Node ${node} holds no data shard of the dataset.`);
    return `${String(row["chunk_id"])}/${String(row["shard_index"])}.${String(row["generation"])}`;
  }

  async #countStored(): Promise<{ chunks: number; shards: number; nodes: number }> {
    const [row] = await this.#stack.sql.query({
      text: `select count(distinct c.id)::int as chunks, count(*)::int as shards, count(distinct s.node_id)::int as nodes
             from chunks c join shards s on s.chunk_id = c.id
             where s.stored and c.id in (select e.chunk_id from extents e join dataset_files f on f.object_id = e.object_id)`,
      values: [],
    });
    return {
      chunks: Number(row?.["chunks"]),
      shards: Number(row?.["shards"]),
      nodes: Number(row?.["nodes"]),
    };
  }
}

/** Grey values as 0 to 1. */
function normalised(batch: TensorBatch): Float32Array {
  return Float32Array.from(batch.data as Uint8Array, (value) => value / BYTE_MAX);
}

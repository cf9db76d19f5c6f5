/** What verified streaming is compared with: the same ranges from the same nodes, sent on as they come. */
import type { ShardStore } from "../../core/ports.ts";

/** Reads that are open at once: the platform's connections. */
const OPEN_READS = 6;
/** Reads that are open or wait for the client, as many as a stream may hold ahead. */
const AHEAD_READS = 16;

export interface PipeRead {
  readonly store: ShardStore;
  readonly key: string;
  readonly offset: number;
  readonly length: number;
}

/** The bytes of all reads in their order, unverified and unframed, one piece a read. */
export function pipeReads(reads: readonly PipeRead[]): ReadableStream<Uint8Array> {
  const ahead: Promise<Uint8Array<ArrayBuffer>>[] = [];
  const spare: ArrayBuffer[] = [];
  let open = 0;
  let next = 0;
  let sent: Uint8Array<ArrayBuffer> | undefined;

  const begin = (): void => {
    while (open < OPEN_READS && ahead.length < AHEAD_READS && next < reads.length) {
      open++;
      const bytes = readOne(reads[next++] as PipeRead, spare);
      ahead.push(bytes);
      const end = (): void => {
        open--;
        begin();
      };
      bytes.then(end, end);
    }
  };
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        // The runtime asks again when the piece before has gone out.
        if (sent !== undefined) spare.push(sent.buffer);
        begin();
        sent = await ahead.shift();
        if (sent === undefined) controller.close();
        else controller.enqueue(sent);
        begin();
      },
    },
    { highWaterMark: 0 },
  );
}

async function readOne(read: PipeRead, spare: ArrayBuffer[]): Promise<Uint8Array<ArrayBuffer>> {
  const { store, key, offset, length } = read;
  const found = spare.findIndex(({ byteLength }) => byteLength >= length);
  const buffer = found < 0 ? new ArrayBuffer(length) : (spare.splice(found, 1)[0] as ArrayBuffer);
  const bytes = await store.read(key, offset, length, new Uint8Array(buffer));
  if (bytes === undefined) throw new Error(`There is no ${length} bytes of ${key} at ${offset}.`);
  return bytes;
}

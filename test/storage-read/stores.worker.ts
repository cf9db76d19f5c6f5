/**
 * The stores inside workerd, driven from outside: a request names the store, the call and its arguments,
 * and the answer is the call's result. Each read checks that its buffer can be recycled.
 */
import { DataStreamError } from "../../core/errors.ts";
import type { ShardStore } from "../../core/ports.ts";
import { HttpShardStore } from "../../storage/http-shard-store.ts";
import { R2ShardStore } from "../../storage/r2-shard-store.ts";

interface Env {
  readonly NODE_1: ConstructorParameters<typeof R2ShardStore>[0];
  readonly HTTP_NODE: string;
}

/** The stack binds these classes whether a test needs them or not. */
class Unused {
  readonly isUnused = true;
}
export { Unused as DatasetJob, Unused as StreamSession };

/** Handed from read to read, as a stream does it. */
let recycled = new ArrayBuffer(4 << 20);

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const call = new URL(request.url).searchParams;
    const store =
      call.get("store") === "r2"
        ? new R2ShardStore(env.NODE_1, "node-1")
        : new HttpShardStore(env.HTTP_NODE, "node-1");
    try {
      return await perform(store, call, request);
    } catch (error) {
      if (!(error instanceof DataStreamError)) throw error;
      return Response.json(
        { code: error.code, message: error.message, details: error.details },
        { status: 500 },
      );
    }
  },
};

async function perform(store: ShardStore, call: URLSearchParams, request: Request): Promise<Response> {
  const key = call.get("key") ?? "";
  switch (call.get("method")) {
    case "put":
      return Response.json(await store.put(key, new Uint8Array(await request.arrayBuffer())));
    case "read": {
      const into = new Uint8Array(recycled);
      const bytes = await store.read(key, Number(call.get("offset")), Number(call.get("length")), into);
      const buffer = bytes?.buffer ?? into.buffer;
      // A read that found nothing may have taken the buffer; one that found its bytes must give it back whole.
      const isWhole = buffer.byteLength === 4 << 20 && (bytes === undefined || bytes.byteOffset === 0);
      recycled = buffer.byteLength > 0 ? buffer : new ArrayBuffer(4 << 20);
      const headers = { "content-type": "application/octet-stream", "x-recycled": String(isWhole) };
      return bytes === undefined
        ? new Response(null, { status: 204, headers })
        : new Response(bytes.slice(), { headers });
    }
    case "size":
      return Response.json({ size: await store.size(key) });
    case "delete":
      await store.delete((await request.json()) as string[]);
      return Response.json(null);
    default:
      return Response.json(await store.list(key, call.get("after") ?? undefined));
  }
}

/** The product's Worker with a route beside it that sends shard ranges on unverified. Never part of a deployment. */
import gateway from "../../functions/gateway.ts";
import { HttpShardStore } from "../../storage/http-shard-store.ts";
import { R2ShardStore } from "../../storage/r2-shard-store.ts";
import { PIPE_PATH, type PipeRequest } from "./pipe-request.ts";
import { pipeReads } from "./pipe.ts";

export { DatasetJob, ProofLedger, StreamSession } from "../../functions/gateway.ts";

type Bindings = Readonly<Record<string, unknown>>;
type Bucket = ConstructorParameters<typeof R2ShardStore>[0];
type Handler = (request: Request, env: unknown, context: unknown) => Promise<Response>;

export default {
  async fetch(request: Request, env: Bindings, context: unknown): Promise<Response> {
    if (new URL(request.url).pathname !== PIPE_PATH)
      return (gateway.fetch as unknown as Handler)(request, env, context);
    const { nodes, reads } = (await request.json()) as PipeRequest;
    const stores = nodes.map(({ kind, address }) =>
      kind === "http"
        ? new HttpShardStore(address, address)
        : new R2ShardStore(env[address] as Bucket, address),
    );
    const body = pipeReads(
      reads.map(([node, key, offset, length]) => {
        const store = stores[node];
        if (store === undefined) throw new Error(`There is no node ${node}.`);
        return { store, key, offset, length };
      }),
    );
    return new Response(body, {
      headers: { "content-type": "application/octet-stream", "cache-control": "no-transform" },
    });
  },
};

// The smallest Worker with the gateway's bindings: it writes to a bucket, a Durable Object and, asked to, SQL.
import { neon, neonConfig } from "@neondatabase/serverless";
import { DurableObject } from "cloudflare:workers";

let requests = 0;

export class StreamSession extends DurableObject {
  count() {
    const count = (this.ctx.storage.kv.get("count") ?? 0) + 1;
    this.ctx.storage.kv.put("count", count);
    return count;
  }
}

export class DatasetJob extends DurableObject {}
export class ProofLedger extends DurableObject {}

export default {
  async fetch(request, env) {
    requests++;
    if (new URL(request.url).pathname === "/sql") {
      neonConfig.fetchEndpoint = `http://${env.NEON_LOCAL}/sql`;
      const [row] = await neon(env.DATABASE_URL)`select count(*)::int as users from users`;
      return Response.json(row);
    }
    await env.NODE_1.put("key", "value");
    const session = env.STREAM_SESSIONS.get(env.STREAM_SESSIONS.idFromName("one"));
    return Response.json({ requests, count: await session.count(), bindings: Object.keys(env).toSorted() });
  },
  async scheduled(_event, env) {
    await env.NODE_1.put("scheduled", "yes");
  },
};

/** The gateway, with a look into what a session's object keeps: `/kept?user=…&dataset=…&stream=…`. */
import gateway, { DatasetJob, ProofLedger, StreamSession } from "../../functions/gateway.ts";

export { DatasetJob, ProofLedger };

interface Kept {
  readonly tables: number;
  readonly hasAlarm: boolean;
}

/** As much of an object's storage as is looked at. */
interface Storage {
  readonly sql: { exec(query: string): { one(): unknown } };
  getAlarm(): Promise<number | null>;
}

class OpenStreamSession extends StreamSession {
  async kept(): Promise<Kept> {
    const { storage } = (this as unknown as { ctx: { storage: Storage } }).ctx;
    const { tables } = storage.sql
      .exec(
        "SELECT count(*) AS tables FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\'",
      )
      .one() as { tables: number };
    return { tables, hasAlarm: (await storage.getAlarm()) !== null };
  }
}
export { OpenStreamSession as StreamSession };

type Fetch = NonNullable<(typeof gateway)["fetch"]>;

const withLook: typeof gateway = {
  ...gateway,
  async fetch(...[request, env, context]: Parameters<Fetch>) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname !== "/kept") return gateway.fetch(request, env, context);
    const name = ["user", "dataset", "stream"].map((field) => searchParams.get(field));
    const session = env.STREAM_SESSIONS.get(env.STREAM_SESSIONS.idFromName(JSON.stringify(name)));
    return Response.json(await (session as unknown as OpenStreamSession).kept());
  },
};
export default withLook;

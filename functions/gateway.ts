/** The Worker: REST, the datastream service, scheduled maintenance, and the Durable Object classes. */
import { createRestApi } from "./api/routes.ts";
import { dataStreamRoutes } from "./datastream/service.ts";
import { depsFrom, streamSessionIdleMs } from "./deps.ts";
import type { Env } from "./env.ts";
import { openInvocation } from "./invocation.ts";
import { jobServices } from "./jobs.ts";
import { maintain } from "./maintenance.ts";
import { keepSessionReceipt } from "./receipts.ts";
import type { SessionReceipt } from "../core/stream/receipt.ts";
import { StreamSessionObject } from "../durable-objects/stream-session.ts";
import { DatasetJobObject, type JobServices } from "../durable-objects/dataset-job.ts";

const api = createRestApi();
dataStreamRoutes(api);

export class StreamSession extends StreamSessionObject<Env> {
  protected override get idleMs(): number {
    return streamSessionIdleMs(this.env);
  }

  protected override keepReceipt(receipt: SessionReceipt): Promise<void> {
    return keepSessionReceipt(this.env, receipt);
  }
}

export { ProofLedger } from "../durable-objects/proof-ledger.ts";

export class DatasetJob extends DatasetJobObject<Env> {
  protected override open(): Promise<JobServices> {
    return jobServices(this.env, (work) => this.ctx.waitUntil(work));
  }
}

const gateway: ExportedHandler<Env> = {
  fetch: (request, env, context) => api.fetch(request, env, context),
  async scheduled(_controller, env, context) {
    const deps = await depsFrom(env);
    await maintain(
      deps,
      openInvocation(deps, (work) => context.waitUntil(work)),
    );
  },
};
export default gateway;

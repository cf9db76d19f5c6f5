/** The Worker: REST, the datastream service, scheduled maintenance, and the Durable Object classes. */
import { DurableObject } from "cloudflare:workers";
import { createRestApi } from "./api/routes.ts";
import type { Env } from "./env.ts";

const api = createRestApi();

export { StreamSession } from "../durable-objects/stream-session.ts";

// TEMPORARY: until the factory in durable-objects/ exists.
export class DatasetJob extends DurableObject {}

const gateway: ExportedHandler<Env> = {
  fetch: (request, env, context) => api.fetch(request, env, context),
  async scheduled() {},
};
export default gateway;

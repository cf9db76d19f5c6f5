/** The Worker: REST, the datastream service, scheduled maintenance, and the Durable Object classes. */
import { DurableObject } from "cloudflare:workers";
import { createRestApi } from "./api/routes.ts";
import type { Env } from "./env.ts";

const api = createRestApi();

// TEMPORARY: until the factories in durable-objects/ exist.
export class StreamSession extends DurableObject {}
export class DatasetJob extends DurableObject {}

const gateway: ExportedHandler<Env> = {
  fetch: (request, env, context) => api.fetch(request, env, context),
  async scheduled() {},
};
export default gateway;

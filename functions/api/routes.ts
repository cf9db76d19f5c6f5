/** The whole REST surface: one line a route module. */
import { type Api, createApi } from "./app.ts";
import { registerBuckets } from "./buckets.ts";
import { registerDocumentation } from "./documentation.ts";
import { registerHealth } from "./health.ts";

export function createRestApi(): Api {
  const api = createApi();
  registerHealth(api);
  registerBuckets(api);
  registerDocumentation(api);
  return api;
}

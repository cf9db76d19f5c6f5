/** The whole REST surface: one line a route module. */
import { type Api, createApi } from "./app.ts";
import { registerBuckets } from "./buckets.ts";
import { registerDocumentation } from "./documentation.ts";
import { registerHealth } from "./health.ts";
import { registerObjects } from "./objects.ts";
import { registerStorage } from "./storage.ts";
import { registerUploads } from "./uploads.ts";

export function createRestApi(): Api {
  const api = createApi();
  registerHealth(api);
  registerBuckets(api);
  registerUploads(api);
  registerObjects(api);
  registerStorage(api);
  registerDocumentation(api);
  return api;
}

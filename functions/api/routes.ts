/** The whole REST surface: one line a route module. */
import { registerAdmin } from "./admin.ts";
import { type Api, createApi } from "./app.ts";
import { registerAttestations } from "./attestations.ts";
import { registerBuckets } from "./buckets.ts";
import { registerManifests } from "./dataset-manifest.ts";
import { registerDatasets } from "./datasets.ts";
import { registerDocumentation } from "./documentation.ts";
import { registerHealth } from "./health.ts";
import { registerJobs } from "./jobs.ts";
import { registerKeys } from "./keys.ts";
import { registerKnownKeys } from "./known-keys.ts";
import { registerTrainingNodes } from "./training-nodes.ts";
import { registerObjects } from "./objects.ts";
import { registerPublicDatasets } from "./public-datasets.ts";
import { registerRegistryJobs } from "./registry-jobs.ts";
import { registerShares } from "./shares.ts";
import { registerReceipts } from "./receipts.ts";
import { registerSignatures } from "./signatures.ts";
import { registerStorage } from "./storage.ts";
import { registerTokens } from "./tokens.ts";
import { registerUploads } from "./uploads.ts";
import { registerUsers } from "./users.ts";

export function createRestApi(): Api {
  const api = createApi();
  registerHealth(api);
  registerBuckets(api);
  registerUploads(api);
  registerObjects(api);
  registerDatasets(api);
  registerManifests(api);
  registerPublicDatasets(api);
  registerRegistryJobs(api);
  registerAttestations(api);
  registerSignatures(api);
  registerKeys(api);
  registerKnownKeys(api);
  registerTokens(api);
  registerShares(api);
  registerJobs(api);
  registerTrainingNodes(api);
  registerReceipts(api);
  registerStorage(api);
  registerAdmin(api);
  registerUsers(api);
  registerDocumentation(api);
  return api;
}

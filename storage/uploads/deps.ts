import type { Clock } from "../../core/ports.ts";
import type { UploadCatalog } from "../../core/write-catalog.ts";
import type { ByteBudget } from "../byte-budget.ts";
import type { ChunkWriterDeps } from "../chunk-writer.ts";

/** What uploads need; one for each request, because it counts the request's connections. */
export interface UploadDeps extends ChunkWriterDeps {
  readonly catalog: UploadCatalog;
  readonly budget: ByteBudget;
  readonly clock: Clock;
  /** How long an upload lives after its last accepted part. Default `UPLOAD_LEASE_MS`. */
  readonly uploadLeaseMs?: number;
}

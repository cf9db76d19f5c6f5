/** What the service and the thread of the driver say to each other. Answers may come in another order. */
import type { CudaDevice } from "./driver.ts";
import type { EngineRing } from "./engine.ts";

/** Given to the thread when it starts. */
export interface ThreadOptions {
  readonly library: string;
}

export type Request =
  /** Answered with CudaDevice[]. */
  | { readonly type: "devices" }
  | { readonly type: "try"; readonly uuid: string; readonly handle: Uint8Array }
  | { readonly type: "open"; readonly ring: number; readonly options: EngineRing }
  | { readonly type: "attach"; readonly ring: number; readonly handles: readonly Uint8Array[] }
  | { readonly type: "copy"; readonly ring: number; readonly slot: number; readonly byteLength: number }
  | { readonly type: "close"; readonly ring: number };

export type NumberedRequest = Request & { readonly id: number };

export interface Answer {
  readonly id: number;
  readonly devices?: readonly CudaDevice[];
  readonly error?: { readonly code: string; readonly message: string };
}

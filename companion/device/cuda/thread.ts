/**
 * The one thread that talks to the driver. While copies are under way it sleeps in the driver until the oldest is
 * done, and looks for messages in between; else it waits for a message.
 */
import { parentPort, receiveMessageOnPort, workerData, type MessagePort } from "node:worker_threads";
import { CudaError, loadDriver, type CudaDriver } from "./driver.ts";
import { CudaEngine, type Completed } from "./engine.ts";
import type { Answer, NumberedRequest, ThreadOptions } from "./messages.ts";

const port = parentPort as MessagePort;
const { library } = workerData as ThreadOptions;

// Loaded with the first request, so that a missing driver is the answer to that and not the end of the thread.
let started: { readonly driver: CudaDriver; readonly engine: CudaEngine } | undefined;

port.on("message", (first: NumberedRequest) => {
  handle(first);
  for (let engine = copying(); engine !== undefined; engine = copying()) {
    for (let next = receive(); next !== undefined; next = receive()) handle(next);
    if (engine.pending > 0) complete(engine.completeOldest());
  }
});

function copying(): CudaEngine | undefined {
  return started !== undefined && started.engine.pending > 0 ? started.engine : undefined;
}

function receive(): NumberedRequest | undefined {
  return receiveMessageOnPort(port)?.message as NumberedRequest | undefined;
}

function handle(request: NumberedRequest): void {
  try {
    const answer = perform(request);
    if (answer !== undefined) port.postMessage(answer);
  } catch (error) {
    complete({ copy: request.id, error });
  }
}

/** Undefined for what is answered later. */
function perform(request: NumberedRequest): Answer | undefined {
  const { id } = request;
  const { driver, engine } = (started ??= start());
  switch (request.type) {
    case "devices":
      return { id, devices: driver.devices() };
    case "try":
      engine.tryHandle(request.uuid, request.handle);
      return { id };
    case "open":
      engine.open(request.ring, request.options);
      return { id };
    case "attach":
      engine.attach(request.ring, request.handles);
      return { id };
    case "copy":
      engine.submit(id, request.ring, request.slot, request.byteLength);
      return undefined;
    case "close":
      for (const completed of engine.settle(request.ring)) complete(completed);
      engine.close(request.ring);
      return { id };
  }
}

function start(): { readonly driver: CudaDriver; readonly engine: CudaEngine } {
  const driver = loadDriver(library);
  return { driver, engine: new CudaEngine(driver) };
}

function complete({ copy, error }: Completed): void {
  if (error === undefined) return port.postMessage({ id: copy } satisfies Answer);
  const code = error instanceof CudaError ? error.code : "internal";
  const message = error instanceof Error ? error.message : "an unknown error";
  port.postMessage({ id: copy, error: { code, message } } satisfies Answer);
}

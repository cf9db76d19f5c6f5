/** A Worker with the gateway's bindings that does nothing. */
class Nothing {
  fetch(): Response {
    return new Response("nothing\n");
  }
}

export class StreamSession extends Nothing {}
export class DatasetJob extends Nothing {}
export class ProofLedger extends Nothing {}

const worker: Nothing = { fetch: () => new Response("nothing\n") };
export default worker;

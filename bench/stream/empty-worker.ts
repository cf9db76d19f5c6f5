/** A Worker with the gateway's bindings that does nothing. */
export class StreamSession {}
export class DatasetJob {}

export default {
  fetch: (): Response => new Response("nothing\n"),
};

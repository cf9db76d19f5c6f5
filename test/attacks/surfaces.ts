/** Everything that a holder of an access token can ask for. */
import { createProof } from "../../client/proof.ts";
import type { KeyPair } from "../../core/trust/ed25519.ts";
import type { Answer, GatewayRequest } from "./send.ts";
import type { World } from "./world.ts";

const SERVICE = "/cyxcloud.datastream.DataStreamService";

export interface Surface {
  readonly name: string;
  /** The request without a token. */
  request(world: World, reference: string): GatewayRequest;
  /** Whether the token stands in the message, not in the header. */
  readonly inMessage: boolean;
}

const rest = (name: string, pathOf: (reference: string, world: World) => string): Surface => ({
  name,
  inMessage: false,
  request: (world, reference) => ({ method: "GET", path: pathOf(reference, world) }),
});

const call = (
  method: string,
  inMessage: boolean,
  fields: (world: World) => object = () => ({}),
  streams = false,
): Surface => ({
  name: `${method}, token in the ${inMessage ? "message" : "header"}`,
  inMessage,
  request: (world, datasetId) => ({
    method: "POST",
    path: `${SERVICE}/${method}`,
    body: { ...fields(world), datasetId },
    streams,
  }),
});

const batches = (): object => ({ batchSize: 2, maxTrustLevel: 4 });
const receipt = ({ stream }: World): object => ({ streamId: stream.id });
const acknowledgement = ({ stream }: World): object => ({ ...stream.acknowledgement });

export const SURFACES: readonly Surface[] = [
  rest("description", (reference) => `/api/datasets/${reference}`),
  rest("files", (reference) => `/api/datasets/${reference}/files`),
  rest("manifest", (reference) => `/api/datasets/${reference}/manifest`),
  rest("page of the manifest", (reference) => `/api/datasets/${reference}/manifest/pages/0`),
  rest("evidence", (reference) => `/api/datasets/${reference}/evidence`),
  rest("receipt", (reference, { stream }) => `/api/streams/${stream.id}/receipt?dataset=${reference}`),
  call("GetDatasetInfo", true),
  call("GetDatasetInfo", false),
  call("StreamBatches", true, batches, true),
  call("AckBatches", true, acknowledgement),
  call("GetReceipt", true, receipt),
  call("GetReceipt", false, receipt),
];

export interface Holding {
  readonly token: string;
  /** Proves possession of the key that the token is bound to. */
  readonly key?: KeyPair;
  /** In place of a proof by the key. */
  readonly proof?: (request: GatewayRequest, url: string) => Promise<string | undefined>;
  readonly scheme?: string;
}

/** The whole request with the token in its place, and a fresh proof where there is a key. */
export async function withToken(
  world: World,
  surface: Surface,
  holding: Holding,
  reference: string = world.v2,
): Promise<GatewayRequest> {
  const bare = surface.request(world, reference);
  const { inMessage } = surface;
  const { token, key } = holding;
  const url = new URL(bare.path, world.gateway.url).href;
  const prove = (): Promise<string | undefined> | undefined =>
    key && createProof(key, { method: bare.method, url, credential: token });
  const proof = await (holding.proof ? holding.proof(bare, url) : prove());
  const scheme = holding.scheme ?? (holding.key || holding.proof ? "DPoP" : "Bearer");
  return {
    ...bare,
    headers: {
      ...(!inMessage && { authorization: `${scheme} ${token}` }),
      ...(proof !== undefined && { dpop: proof }),
    },
    ...(inMessage && { body: { ...(bare.body as object), accessToken: token } }),
  };
}

export async function ask(
  world: World,
  surface: Surface,
  holding: Holding,
  reference?: string,
): Promise<Answer> {
  return world.send(await withToken(world, surface, holding, reference));
}

/**
 * One probe for each operation that names something which may be somebody's: the request for a thing that exists and is
 * hidden from who asks, beside the same request for one that does not.
 */
import { randomUUID } from "node:crypto";
import { toHex } from "../../core/bytes.ts";
import { newKey, type Person } from "../trust/fixture.ts";
import { call, type Envelopes, get, one, post, put, remove, type Request } from "./reach-classes.ts";
import { created, freshKey, idOf, issued, newNode, type World } from "./world.ts";

export interface Probe {
  /** A hidden thing, made for the occasion where the owner's request uses it up. */
  readonly hidden: () => string | Promise<string>;
  /** What does not exist; a UUID where it is left out. */
  readonly absent?: string;
  readonly request: (name: string) => Request;
  /** Who asks; bob, who holds nothing, where it is left out. */
  readonly stranger?: Person;
}

/** `METHOD /path` or the name of a method of the service, and further ones after a comma. */
export function probesOf(world: World, envelopes: Envelopes): Readonly<Record<string, Probe>> {
  return {
    ...datasetProbes(world, envelopes),
    ...storageProbes(world),
    ...accessProbes(world),
    ...keyProbes(world, envelopes),
    ...administrationProbes(world),
  };
}

const BUCKET = "words";
const NO_BUCKET = "nothing-here";

function datasetProbes(world: World, envelopes: Envelopes): Readonly<Record<string, Probe>> {
  const hidden = (): string => world.v2;
  const ofVersion = (request: (path: string) => Request): Probe => ({
    hidden,
    request: (id) => request(`/api/datasets/${id}`),
  });
  const byName = (request: (reference: string) => Request): Probe => ({
    hidden: () => "owner/words",
    absent: "owner/nothing",
    request,
  });
  const stream = world.stream.id;
  return {
    "GET /api/datasets/{ref}": ofVersion(get),
    "GET /api/datasets/{ref}, by name": byName((name) => get(`/api/datasets/${encodeURIComponent(name)}`)),
    "GET /api/datasets/{ref}, by version": byName((name) =>
      get(`/api/datasets/${encodeURIComponent(`${name}@2`)}`),
    ),
    "DELETE /api/datasets/{ref}": {
      hidden: async () => {
        const schema = { type: "text", format: "txt" } as const;
        const name = `gone-${randomUUID().slice(0, 8)}`;
        return (await world.ada.client.datasets.create({ name, files: ["words/even/*.txt"], schema })).id;
      },
      request: (id) => remove(`/api/datasets/${id}`),
    },
    "GET /api/datasets/{ref}/files": ofVersion((path) => get(`${path}/files`)),
    "GET /api/datasets/{ref}/versions": ofVersion((path) => get(`${path}/versions`)),
    "GET /api/datasets/{ref}/manifest": ofVersion((path) => get(`${path}/manifest`)),
    "GET /api/datasets/{ref}/manifest/pages/{page}": ofVersion((path) => get(`${path}/manifest/pages/0`)),
    "GET /api/datasets/{ref}/manifest/pages/{page}, beyond the last": {
      hidden,
      request: (id) => get(`/api/datasets/${id}/manifest/pages/9`),
    },
    "POST /api/datasets/{ref}/verify": ofVersion((path) => post(`${path}/verify`, { depth: "manifest" })),
    "POST /api/datasets/{ref}/unpack": ofVersion((path) =>
      post(`${path}/unpack`, { name: "unpacked", schema: { type: "bytes", format: "bin" } }),
    ),
    "POST /api/datasets/{ref}/attestations": ofVersion((path) =>
      post(`${path}/attestations`, { envelope: envelopes.attestation }),
    ),
    "POST /api/datasets/{ref}/signatures": ofVersion((path) =>
      post(`${path}/signatures`, { envelope: envelopes.signature }),
    ),
    "GET /api/datasets/{ref}/evidence": ofVersion((path) => get(`${path}/evidence`)),
    "POST /api/datasets/{ref}/tokens": ofVersion((path) => post(`${path}/tokens`, { scopes: ["read"] })),
    "GET /api/tokens": { hidden, request: (id) => get(`/api/tokens?dataset=${id}`) },
    "POST /api/datasets/{ref}/shares": ofVersion((path) =>
      post(`${path}/shares`, { user: "dora", permissions: ["read"] }),
    ),
    "GET /api/datasets/{ref}/shares": ofVersion((path) => get(`${path}/shares`)),
    "GET /api/streams/{stream}/receipt": {
      hidden,
      request: (id) => get(`/api/streams/${stream}/receipt?dataset=${id}`),
    },
    // Eve may stream the version; whose streams run over it is not hers to know.
    "GET /api/streams/{stream}/receipt, of somebody else's stream": {
      hidden: () => stream,
      request: (id) => get(`/api/streams/${id}/receipt?dataset=${world.v2}`),
      stranger: world.eve,
    },
    GetDatasetInfo: { hidden, request: (datasetId) => call("GetDatasetInfo", { datasetId }) },
    "GetDatasetInfo, by name": byName((datasetId) => call("GetDatasetInfo", { datasetId })),
    VerifyDataset: { hidden, request: (datasetId) => call("VerifyDataset", { datasetId }) },
    CreateAccessToken: {
      hidden,
      request: (datasetId) => call("CreateAccessToken", { datasetId, scopes: ["read"] }),
    },
    GetReceipt: { hidden, request: (datasetId) => call("GetReceipt", { datasetId, streamId: stream }) },
  };
}

function storageProbes(world: World): Readonly<Record<string, Probe>> {
  const upload = async (): Promise<string> => {
    const body = { bucket: BUCKET, kind: "object", key: `x/${randomUUID()}` };
    return String((await created(world, "POST", "/api/uploads", body))["upload_id"]);
  };
  const withPart = async (): Promise<string> => {
    const id = await upload();
    await world.gateway.request(`/api/uploads/${id}/parts/1`, { method: "PUT", body: "abc" });
    return id;
  };
  const object = async (): Promise<string> => {
    const key = `y-${randomUUID()}`;
    await world.ada.client.uploadFolder({ bucket: BUCKET, prefix: "" }, one(key));
    return `${BUCKET}/${key}`;
  };
  const inBucket = (request: (bucket: string) => Request): Probe => ({
    hidden: () => BUCKET,
    absent: NO_BUCKET,
    request,
  });
  const ofObject = (request: (path: string) => Request, absent: string): Probe => ({
    hidden: object,
    absent,
    request: (name) => request(`/api/objects/${name}`),
  });
  return {
    // It makes a bucket of one's own, whoever else has one of that name.
    "PUT /api/buckets/{bucket}": {
      ...inBucket((bucket) => put(`/api/buckets/${bucket}`)),
      absent: "nowhere-else",
      stranger: world.dora,
    },
    "POST /api/uploads": inBucket((bucket) => post("/api/uploads", { bucket, kind: "object", key: "x" })),
    "GET /api/uploads/{upload}": { hidden: upload, request: (id) => get(`/api/uploads/${id}`) },
    "DELETE /api/uploads/{upload}": { hidden: upload, request: (id) => remove(`/api/uploads/${id}`) },
    "PUT /api/uploads/{upload}/parts/{part}": {
      hidden: upload,
      request: (id) => put(`/api/uploads/${id}/parts/1`, "abc"),
    },
    "POST /api/uploads/{upload}/complete": {
      hidden: withPart,
      request: (id) => post(`/api/uploads/${id}/complete`, { parts: 1 }),
    },
    "GET /api/objects": inBucket((bucket) => get(`/api/objects?bucket=${bucket}`)),
    "GET /api/objects/{bucket}/{key}": ofObject(get, `${NO_BUCKET}/missing`),
    "GET /api/objects/{bucket}/{key}, in the same bucket": ofObject(get, `${BUCKET}/missing`),
    "HEAD /api/objects/{bucket}/{key}": ofObject(
      (path) => ({ method: "HEAD", path }),
      `${NO_BUCKET}/missing`,
    ),
    "DELETE /api/objects/{bucket}/{key}": ofObject(remove, `${NO_BUCKET}/missing`),
    "POST /api/objects/delete": inBucket((bucket) =>
      post("/api/objects/delete", { bucket, keys: ["even/0000.txt"] }),
    ),
    "GET /api/jobs/{job}": {
      hidden: async () =>
        String(
          (await created(world, "POST", `/api/datasets/${world.v2}/verify`, { depth: "full" }))["job_id"],
        ),
      request: (id) => get(`/api/jobs/${id}`),
    },
  };
}

function accessProbes(world: World): Readonly<Record<string, Probe>> {
  const node = async (): Promise<string> => (await newNode(world)).id;
  const token = async (): Promise<string> => (await issued(world)).id;
  return {
    "DELETE /api/tokens/{token}": { hidden: token, request: (id) => remove(`/api/tokens/${id}`) },
    RevokeAccessToken: { hidden: token, request: (tokenId) => call("RevokeAccessToken", { tokenId }) },
    "DELETE /api/shares/{share}": {
      hidden: () =>
        idOf(world, "POST", `/api/datasets/${world.v2}/shares`, { user: "dora", permissions: ["read"] }),
      request: (id) => remove(`/api/shares/${id}`),
    },
    "DELETE /api/training-nodes/{node}": {
      hidden: node,
      request: (id) => remove(`/api/training-nodes/${id}`),
    },
    "POST /api/datasets/{ref}/tokens, for a training node": {
      hidden: node,
      request: (id) => post(`/api/datasets/${world.v2}/tokens`, { scopes: ["read"], node: id }),
      stranger: world.eve,
    },
  };
}

function keyProbes(world: World, envelopes: Envelopes): Readonly<Record<string, Probe>> {
  const noKey = toHex(freshKey().publicKey);
  const listed = (path: string): Probe => ({
    hidden: async () => {
      const public_key = toHex(freshKey().publicKey);
      await created(world, "POST", path, { name: public_key, public_key });
      return public_key;
    },
    absent: noKey,
    request: (key) => remove(`${path}/${key}`),
  });
  return {
    "DELETE /api/keys/{key}": {
      hidden: async () => (await newKey(world.ada, randomUUID())).registered.id,
      request: (id) => remove(`/api/keys/${id}`),
    },
    "DELETE /api/known-keys/{public_key}": listed("/api/known-keys"),
    "DELETE /api/admin/known-keys/{public_key}": listed("/api/admin/known-keys"),
    "DELETE /api/admin/attestors/{public_key}": listed("/api/admin/attestors"),
    "DELETE /api/attestations/{attestation}": {
      hidden: () =>
        idOf(world, "POST", `/api/datasets/${world.v2}/attestations`, { envelope: envelopes.attestation }),
      request: (id) => remove(`/api/attestations/${id}`),
    },
    "DELETE /api/users/{user}/api-keys/{key}": {
      hidden: () => idOf(world, "POST", "/api/users/me/api-keys", { name: randomUUID() }),
      request: (id) => remove(`/api/users/me/api-keys/${id}`),
    },
  };
}

function administrationProbes(world: World): Readonly<Record<string, Probe>> {
  const ofUser = (request: (path: string) => Request): Probe => ({
    hidden: () => "carol",
    absent: "nobody",
    request: (name) => request(`/api/users/${name}`),
  });
  const entry = async (): Promise<string> => {
    const body = {
      name: `Set ${randomUUID()}`,
      version: "1",
      official_url: "https://example.org/set",
      verified_by: ["somebody"],
      official_hash: toHex(freshKey().publicKey),
    };
    return idOf(world, "POST", "/api/public-datasets", body);
  };
  const ofEntry = (request: (path: string) => Request): Probe => ({
    hidden: entry,
    request: (id) => request(`/api/public-datasets/${id}`),
  });
  return {
    "POST /api/users/{user}/api-keys": ofUser((path) => post(`${path}/api-keys`, { name: "new" })),
    "GET /api/users/{user}/api-keys": ofUser((path) => get(`${path}/api-keys`)),
    "DELETE /api/users/{user}/api-keys/{key}, of a user": ofUser((path) =>
      remove(`${path}/api-keys/${randomUUID()}`),
    ),
    "PUT /api/users/{user}/verified-email": ofUser((path) => put(`${path}/verified-email`, {})),
    "DELETE /api/public-datasets/{ref}": ofEntry(remove),
    "PUT /api/public-datasets/{ref}/cached-copy": {
      hidden: () => world.v2,
      request: (dataset) => put("/api/public-datasets/Optical%20Digits/cached-copy", { dataset }),
    },
    "POST /api/public-datasets/{ref}/import": ofEntry((path) =>
      post(`${path}/import`, { name: "copy", schema: {}, files: ["words/*"] }),
    ),
  };
}

/** What names nothing that could be hidden, and why. */
export const NOTHING_TO_HIDE: Readonly<Record<string, readonly string[]>> = {
  "the same for everybody": [
    "GET /healthz",
    "GET /.well-known/jwks.json",
    "GET /api/public-datasets",
    "GET /api/public-datasets/{ref}",
    "GET /api/attestors",
    "GET /api/nodes",
    "GET /api/storage/health",
  ],
  "lists what is the caller's": [
    "GET /api/buckets",
    "GET /api/datasets",
    "GET /api/jobs",
    "GET /api/keys",
    "GET /api/known-keys",
    "GET /api/training-nodes",
    "GET /api/users/me",
  ],
  "makes or changes what is the caller's": [
    "POST /api/datasets",
    "GET /api/keys/challenge",
    "POST /api/keys",
    "POST /api/known-keys",
    "POST /api/training-nodes",
    "PUT /api/users/me/sign-in",
    "POST /api/users/me/verification-mail",
  ],
  "takes a secret, which tells its holder about itself alone": [
    "POST /api/tokens/verify",
    "POST /api/users/me/verify-email",
    "POST /api/auth/sign-in",
    "POST /api/auth/sign-out",
  ],
  "tells that a name or an address is taken, as it has to": ["POST /api/auth/sign-up"],
  "administrators', and names nothing of anybody": [
    "GET /api/users",
    "POST /api/users",
    "POST /api/public-datasets",
    "GET /api/admin/known-keys",
    "POST /api/admin/known-keys",
    "POST /api/admin/attestors",
    "POST /api/admin/attestors/renew",
    "POST /api/admin/repair",
    "POST /api/admin/scrub",
    "POST /api/admin/gc",
  ],
  "takes an access token alone, whose holders are asked below": ["StreamBatches", "AckBatches"],
};

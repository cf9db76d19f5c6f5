import { createRoute, z } from "@hono/zod-openapi";
import { locateObject } from "../../catalog/locate.ts";
import { concatBytes, toHex } from "../../core/bytes.ts";
import { HASH_BYTES } from "../../core/dataset/manifest-format.ts";
import { MANIFEST_PAGE_BYTES, pageCount, pageLength, pageProof } from "../../core/dataset/manifest-proof.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { readObject } from "../../storage/object-reader.ts";
import { storedObjects } from "../jobs.ts";
import type { Api } from "./app.ts";
import { answerBytes } from "./byte-answer.ts";
import { DatasetParams } from "./dataset-schemas.ts";
import { accessOf } from "./datasets.ts";
import { problems } from "./problem.ts";
import { Digest, jsonAnswer } from "./schemas.ts";

const EITHER = { security: [{ api_key: [] }, { access_token: [] }] };

const Page = z
  .object({
    page: z.int().openapi({ example: 0 }),
    total_bytes: z.int().openapi({ description: "Of the manifest", example: 3450064 }),
    data: z.string().openapi({ description: "Base64 of the page: 64 KiB, the last one shorter" }),
    proof: z
      .array(Digest)
      .openapi({ description: "BLAKE3 chaining values of the siblings, from the page up to the root" }),
  })
  .openapi("ManifestPage");

const manifestRoute = createRoute({
  method: "get",
  path: "/api/datasets/{ref}/manifest",
  tags: ["datasets"],
  summary: "Download the manifest",
  description: "Manifest v1, whose BLAKE3 is the dataset's content hash. Ranges are answered.",
  ...EITHER,
  request: { params: DatasetParams },
  responses: {
    200: { description: "The manifest", content: { "application/octet-stream": { schema: z.any() } } },
    206: { description: "A range of it", content: { "application/octet-stream": { schema: z.any() } } },
    304: { description: "`If-None-Match` names it" },
    ...problems(400, 401, 403, 404, 416),
  },
});

const pageRoute = createRoute({
  method: "get",
  path: "/api/datasets/{ref}/manifest/pages/{page}",
  tags: ["datasets"],
  summary: "Read one page of the manifest, with a proof",
  description: "Whoever knows the content hash can check the page by its proof alone.",
  ...EITHER,
  request: {
    params: DatasetParams.extend({
      page: z.coerce
        .number()
        .int()
        .min(0)
        .openapi({ type: "integer", param: { name: "page", in: "path", required: true }, example: 0 }),
    }),
  },
  responses: { 200: jsonAnswer(Page, "The page"), ...problems(400, 401, 403, 404) },
});

export function registerManifests(api: Api): void {
  api.openapi(manifestRoute, async (c) => {
    const { deps, invocation, log } = c.var;
    const { dataset } = await accessOf(c, c.req.valid("param").ref, "describe");
    const object = await locateObject(deps.sql, dataset.manifestObjectId, deps.chunks);
    if (object === undefined)
      throw new DataStreamError("internal", "The dataset's manifest is not in the catalog.");
    return answerBytes(
      c.req.raw,
      {
        size: object.size,
        contentHash: dataset.contentHash,
        lastModified: dataset.createdAt,
        open: (range) => readObject(invocation.reads, object, range),
      },
      log,
    );
  });

  api.openapi(pageRoute, async (c) => {
    const { deps, invocation } = c.var;
    const { ref, page } = c.req.valid("param");
    const { dataset } = await accessOf(c, ref, "describe");
    const { manifestSizeBytes: totalBytes } = dataset;
    const pages = pageCount(totalBytes);
    if (page >= pages)
      throw invalidArgument("page", `the manifest has ${pages} pages.`, { limit: pages - 1 });
    const objects = storedObjects(deps, invocation);
    const range = { offset: page * MANIFEST_PAGE_BYTES, length: pageLength(totalBytes, page) };
    const [data, values] = await Promise.all([
      collect(objects.read(dataset.manifestObjectId, range)),
      collect(objects.read(dataset.treeObjectId)),
    ]);
    const proof = pageProof(values, page, deps.kernels.blake3);
    const siblings = Array.from({ length: proof.length / HASH_BYTES }, (_, i) =>
      toHex(proof.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES)),
    );
    return c.json({ page, total_bytes: totalBytes, data: toBase64(data), proof: siblings }, 200);
  });
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece.slice());
  return concatBytes(all);
}

/** In steps, since a call takes only so many arguments. */
function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 4096)
    binary += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return btoa(binary);
}

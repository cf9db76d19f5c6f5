import { createRoute, z } from "@hono/zod-openapi";
import { STREAM_ID_MAX_CHARS } from "../../core/limits.ts";
import { RECEIPT_TYPE } from "../../core/stream/receipt.ts";
import { getReceipt } from "../receipts.ts";
import type { Api } from "./app.ts";
import { requestCaller } from "./caller.ts";
import { problems } from "./problem.ts";
import { jsonAnswer } from "./schemas.ts";

const Receipt = z
  .object({
    payloadType: z.string().openapi({ example: RECEIPT_TYPE }),
    payload: z.string().openapi({ description: "Base64 of the receipt in canonical JSON" }),
    signatures: z
      .array(
        z.object({
          keyid: z.string().openapi({ description: "`kid` of a key in `/.well-known/jwks.json`" }),
          sig: z.string().openapi({ description: "Base64 of an Ed25519 signature" }),
        }),
      )
      .length(1),
  })
  .openapi("Receipt", { description: "A DSSE envelope; docs/formats/receipt-v1.md explains its payload." });

const receiptRoute = createRoute({
  method: "get",
  path: "/api/streams/{stream}/receipt",
  tags: ["streams"],
  summary: "Get the signed receipt of a stream",
  description:
    "What the stream was sent and what its consumers acknowledged, as of now. A stream whose session was " +
    "forgotten answers with the receipt that was kept then. Streams belong to the user in whose name their " +
    "tokens were issued; holders of such a token may ask, too.",
  security: [{ api_key: [] }, { access_token: [] }],
  request: {
    params: z.object({
      stream: z
        .string()
        .max(STREAM_ID_MAX_CHARS)
        .openapi({ param: { name: "stream", in: "path" }, description: "The stream's id" }),
    }),
    query: z.object({
      dataset: z
        .string()
        .openapi({ description: "The dataset version that was streamed", example: "digits@1" }),
    }),
  },
  responses: { 200: jsonAnswer(Receipt, "The receipt"), ...problems(400, 401, 403, 404) },
});

export function registerReceipts(api: Api): void {
  api.openapi(receiptRoute, async (c) => {
    const { deps } = c.var;
    const caller = await requestCaller(c);
    const { dataset } = c.req.valid("query");
    const envelope = await getReceipt({ env: c.env, deps }, caller, dataset, c.req.valid("param").stream);
    const { payloadType, payload, signatures } = envelope;
    return c.json(
      { payloadType, payload, signatures: signatures.map((signature) => ({ ...signature })) },
      200,
    );
  });
}

import { createRoute, z } from "@hono/zod-openapi";
import type { Api } from "./app.ts";
import { jsonAnswer } from "./schemas.ts";

const Health = z.object({ status: z.literal("ok") }).openapi("Health");

const healthRoute = createRoute({
  method: "get",
  path: "/healthz",
  tags: ["operation"],
  summary: "Whether the gateway runs",
  description: "Asks nothing else: `GET /api/storage/health` tells about database and nodes.",
  responses: { 200: jsonAnswer(Health, "It runs") },
});

export function registerHealth(api: Api): void {
  api.openapi(healthRoute, (c) => c.json({ status: "ok" as const }, 200, { "cache-control": "no-store" }));
}

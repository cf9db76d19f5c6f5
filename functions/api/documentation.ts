/** `/openapi.json`: OpenAPI 3.1 made from the routes themselves. */
import type { Api } from "./app.ts";

const INFO = {
  title: "CyxCloud DataStream",
  version: "0.1.0",
  license: { name: "Apache-2.0", identifier: "Apache-2.0" },
  description:
    "Uploads, objects, datasets, tokens, jobs and storage of one gateway. JSON is snake_case, hashes are lowercase " +
    "hexadecimal, times ISO 8601. Every failure is `application/problem+json` (RFC 9457) and names the field, its " +
    "limit and what to do. Batches are streamed by cyxcloud.datastream.DataStreamService over Connect or gRPC-Web, " +
    "which proto/datastream.proto describes.",
};

/** Call it after every other route. */
export function registerDocumentation(api: Api): void {
  api.openAPIRegistry.registerComponent("securitySchemes", "api_key", {
    type: "http",
    scheme: "bearer",
    description: "An API key, `cyx_…`: acts as its user.",
  });
  api.openAPIRegistry.registerComponent("securitySchemes", "access_token", {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "An access token of one dataset version: reads or streams that version alone.",
  });
  let document: string | undefined;
  api.get("/openapi.json", (c) => {
    document ??= JSON.stringify(
      api.getOpenAPI31Document({ openapi: "3.1.0", info: INFO, servers: [{ url: "/" }] }),
    );
    return c.body(document, 200, {
      "content-type": "application/json",
      "cache-control": "public, max-age=300",
    });
  });
}

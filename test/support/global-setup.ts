/**
 * Offers test files a database server, started when the first of them asks: a run of pure tests waits for
 * none. Test files run in processes of their own, so they ask over HTTP.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestProject } from "vitest/node";
import type { TestServer } from "./server.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** URL that answers with a TestServer. */
    readonly testServer: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  let server: { readonly stop: () => Promise<void>; readonly details: Promise<TestServer> } | undefined;
  const desk = createServer((_request, response) => {
    server ??= forkServer();
    server.details.then(
      (details) => response.end(JSON.stringify(details)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });
  desk.listen(0, "127.0.0.1");
  await once(desk, "listening");
  project.provide("testServer", `http://127.0.0.1:${(desk.address() as AddressInfo).port}`);

  return async () => {
    desk.closeAllConnections();
    desk.close();
    await server?.stop();
  };
}

function forkServer(): { stop: () => Promise<void>; details: Promise<TestServer> } {
  const child = fork(new URL("server.ts", import.meta.url), { execArgv: [] });
  const ended = once(child, "exit");
  const failed = ended.then(() => {
    throw new Error("The test database server ended before it was ready: see its output above.");
  });
  const ready = once(child, "message").then(([details]) => details as TestServer);
  return {
    details: Promise.race([ready, failed]),
    async stop() {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}

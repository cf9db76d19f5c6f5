/** One module of the project running alone in workerd, for tests and measurements of code that must work there. */
import { convertV4MiniflareOptions, Miniflare, NoOpLog } from "miniflare";
import { bundleWorker } from "./stack/bundle.ts";

export interface SingleWorker {
  /** For example `http://127.0.0.1:40123`, without a path. */
  readonly url: string;
  stop(): Promise<void>;
}

/** @param entry absolute path of a module whose default export has a `fetch` handler. */
export async function startSingleWorker(entry: string): Promise<SingleWorker> {
  const modules = await bundleWorker(entry);
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: "worker",
      host: "127.0.0.1",
      port: 0,
      cf: false,
      telemetry: { enabled: false },
      log: new NoOpLog(),
      compatibilityDate: "2026-11-01",
      modulesRoot: "/",
      modules: modules.map((module) => Object.assign(module, { path: `/${module.path}` })),
    }),
  );
  const url = (await miniflare.ready).origin;
  return { url, stop: () => miniflare.dispose() };
}

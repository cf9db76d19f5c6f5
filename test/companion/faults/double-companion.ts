/** A companion in this process on a gateway double, which lies and breaks as a test says. */
import type { StreamRequest } from "../../../companion/handoff/messages.ts";
import { loadKernels } from "../../../kernels/index.ts";
import type { DoubleFile, GatewayDouble } from "../../client/double.ts";
import { serveDouble } from "../double-server.ts";
import { images, setUp } from "../doubles.ts";
import { startCompanion, type TestCompanion } from "../service/companions.ts";
import { HandoffClient } from "../service/handoff-client.ts";

const { blake3 } = await loadKernels({ heapBytes: 1 << 20 });

export interface DoubleCompanion extends TestCompanion {
  readonly double: GatewayDouble;
  readonly gateway: string;
  connect(): Promise<HandoffClient>;
  request(more?: Partial<StreamRequest>): StreamRequest;
  /** Value of a metric, summed over its labels. */
  metric(name: string): Promise<number>;
}

export async function startDoubleCompanion(
  files: readonly DoubleFile[] = images(40),
  flags: Record<string, unknown> = {},
): Promise<DoubleCompanion> {
  const { double } = setUp(files, blake3);
  const server = await serveDouble(double);
  const companion = await startCompanion({ gateway: server.url, ...flags });
  return {
    ...companion,
    double,
    gateway: server.url,
    connect: () => HandoffClient.connect(companion.socket),
    request: (more) => ({ dataset: "letters", access_token: "t", batch_size: 4, ...more }),
    async metric(name) {
      const text = await (await fetch(`${companion.url}/metrics`)).text();
      const values = text.matchAll(new RegExp(`^cyxcloud_companion_${name}(?:\\{.*\\})? (\\S+)$`, "gm"));
      return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
    },
    async close() {
      await companion.close();
      await server.stop();
    },
  };
}

import { createServer } from "node:net";

export const LOOPBACK = "127.0.0.1";

/** A port that somebody else listens on; the message names it and the option that changes it. */
export class PortBusyError extends Error {
  override readonly name = "PortBusyError";
  readonly port: number;
  constructor(port: number, option: string) {
    super(`Port ${port} is in use. Stop what listens there, or choose another port with ${option} PORT.`);
    this.port = port;
  }
}

/**
 * The port itself when it is free, or for 0 one that the system gives.
 * Nothing is reserved: another process may take it before the caller does.
 */
export async function freePort(port: number, option: string): Promise<number> {
  const probe = createServer();
  try {
    return await new Promise<number>((resolve, reject) => {
      probe.once("error", reject);
      probe.listen(port, LOOPBACK, () => {
        const address = probe.address();
        resolve(typeof address === "object" && address ? address.port : port);
      });
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") throw new PortBusyError(port, option);
    throw error;
  } finally {
    await new Promise((resolve) => probe.close(resolve));
  }
}

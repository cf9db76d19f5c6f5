/** The Unix socket of handoff v1, and who is connected to it. */
import { lstatSync, mkdirSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { DataStreamError } from "../../core/errors.ts";
import { HandoffConnection, type HandoffHandler } from "./connection.ts";
import { listenPrivately } from "./private-socket.ts";

/**
 * The user's own folder for sockets: `$XDG_RUNTIME_DIR/cyxcloud`, else `/tmp/cyxcloud-UID`.
 * @throws DataStreamError `permission_denied` where it is not the user's alone: in /tmp anybody may make a folder.
 */
export function runtimeFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const base = environment["XDG_RUNTIME_DIR"];
  const { uid } = userInfo();
  const folder = base === undefined || base === "" ? `/tmp/cyxcloud-${uid}` : join(base, "cyxcloud");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { mode, uid: owner } = lstatSync(folder);
  if (owner === uid && (mode & 0o170_077) === 0o040_000) return folder;
  throw new DataStreamError(
    "permission_denied",
    `${folder} must be a folder that belongs to this user alone (mode 0700). Correct it, or name a socket with --handoff-socket.`,
    { details: { field: "handoff_socket" } },
  );
}

/** Listens for clients of the handoff. */
export class HandoffServer {
  readonly path: string;
  readonly #server: Server;
  readonly #connections = new Set<HandoffConnection>();

  private constructor(path: string, server: Server) {
    this.path = path;
    this.#server = server;
  }

  /**
   * @param handlerOf is called for each connection, and sends the welcome.
   * @throws DataStreamError `already_exists` where another companion answers at the path, or something else lies there.
   */
  static async listen(
    path: string,
    handlerOf: (connection: HandoffConnection) => HandoffHandler,
  ): Promise<HandoffServer> {
    // The client sees the end when everything is free, also where it ended its side first.
    const server = createServer({ allowHalfOpen: true });
    const handoff = new HandoffServer(path, server);
    server.on("connection", (socket) => {
      const connection = new HandoffConnection(socket);
      handoff.#connections.add(connection);
      socket.on("close", () => handoff.#connections.delete(connection));
      connection.serve(handlerOf(connection));
    });
    await listenPrivately(server, path, "handoff_socket");
    return handoff;
  }

  /** Clients that are connected and not about to be gone. */
  get connections(): number {
    return [...this.#connections].filter(({ isOver }) => !isOver).length;
  }

  /** Takes no further clients; those that are there stay. */
  stopAccepting(): void {
    this.#server.close();
  }

  /** Ends every connection, once what its client had is free, and removes the socket. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const connection of this.#connections) connection.close();
    await closed;
  }
}

/** The Unix socket of handoff v1: who may connect, and what becomes of a socket file that a dead companion left. */
import { chmodSync, lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { once } from "node:events";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { HandoffConnection, type HandoffHandler } from "./connection.ts";

/** `sun_path` of Linux, with its final zero. */
const PATH_MAX_BYTES = 107;

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
    if (Buffer.byteLength(path) > PATH_MAX_BYTES)
      throw invalidArgument(
        "handoff_socket",
        `${path} is longer than the ${PATH_MAX_BYTES} bytes of a socket's path.`,
        {
          limit: PATH_MAX_BYTES,
        },
      );
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    await removeStale(path);
    const server = createServer();
    const handoff = new HandoffServer(path, server);
    server.on("connection", (socket) => {
      const connection = new HandoffConnection(socket);
      handoff.#connections.add(connection);
      const handler = handlerOf(connection);
      connection.serve({
        message: (message) => handler.message(message),
        ended: () => {
          handoff.#connections.delete(connection);
          handler.ended();
        },
      });
    });
    // The socket is bound during this call: at no moment may others connect.
    const umask = process.umask(0o177);
    try {
      server.listen(path);
    } finally {
      process.umask(umask);
    }
    await once(server, "listening");
    chmodSync(path, 0o600);
    return handoff;
  }

  /** Clients that are connected. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Takes no further clients; those that are there stay. */
  stopAccepting(): void {
    this.#server.close();
  }

  /** Ends every connection and removes the socket. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const connection of this.#connections) connection.close();
    await closed;
  }
}

/** A socket that nobody answers at was left by a companion that died. */
async function removeStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new DataStreamError(
      "already_exists",
      `${path} is no socket, so the companion does not replace it. Move it away, or name another path with --handoff-socket.`,
      { details: { field: "handoff_socket" } },
    );
  if (await answers(path))
    throw new DataStreamError(
      "already_exists",
      `Another companion answers at ${path}. Use it, stop it, or give this one another port or --handoff-socket.`,
      { details: { field: "handoff_socket" } },
    );
  unlinkSync(path);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" || error.code === "ENOENT") resolve(false);
      else reject(error);
    });
  });
}

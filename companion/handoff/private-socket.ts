/** Unix sockets that their user alone may connect to. */
import { once } from "node:events";
import { lstatSync, mkdirSync, unlinkSync } from "node:fs";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";

/** `sun_path` of Linux, with its final zero. */
const PATH_MAX_BYTES = 107;

/**
 * Listens at a path, mode 0600; makes its folder where it is missing, mode 0700. A socket that a dead process left there is
 * replaced.
 * @param setting that names the path, for errors.
 * @throws DataStreamError `already_exists` where somebody answers at the path, or something else lies there.
 */
export async function listenPrivately(server: Server, path: string, setting: string): Promise<void> {
  if (Buffer.byteLength(path) > PATH_MAX_BYTES)
    throw invalidArgument(setting, `${path} is longer than the ${PATH_MAX_BYTES} bytes of a socket's path.`, {
      limit: PATH_MAX_BYTES,
    });
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  await removeStale(path, setting);
  // The socket is bound during this call: at no moment may others connect.
  const umask = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(umask);
  }
  await once(server, "listening");
}

/** A socket that nobody answers at was left by a companion that died. */
async function removeStale(path: string, setting: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket())
    throw new DataStreamError(
      "already_exists",
      `${path} is no socket, so the companion does not replace it. Move it away, or name another path.`,
      { details: { field: setting } },
    );
  if (await answers(path))
    throw new DataStreamError(
      "already_exists",
      `Another companion answers at ${path}. Use it, stop it, or give this one another address and socket.`,
      { details: { field: setting } },
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

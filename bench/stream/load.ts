/**
 * Child process that sends requests and throws the answers away, so cheaply that what is measured is the server:
 * sockets read into one buffer, nothing is parsed but the status and the end.
 */
import { connect } from "node:net";
import type { LoadAnswer, LoadOrder } from "./load-client.ts";

const BUFFER_BYTES = 256 * 1024;
const KEPT_BYTES = 2048;

process.on("message", (order: LoadOrder) => {
  run(order).then(
    (answer) => process.send?.(answer),
    (error: Error) => process.send?.({ id: order.id, error: error.message } satisfies LoadAnswer),
  );
});

function run(order: LoadOrder): Promise<LoadAnswer> {
  const body = Buffer.from(order.body, "base64");
  const head = [
    `POST ${order.path} HTTP/1.1`,
    `host: 127.0.0.1:${order.port}`,
    "connection: close",
    `content-type: ${order.contentType}`,
    `content-length: ${body.length}`,
  ];
  const { promise, resolve, reject } = Promise.withResolvers<LoadAnswer>();
  const started = performance.now();
  let bytes = 0;
  let first = "";
  let last = Buffer.alloc(0);
  const socket = connect({
    port: order.port,
    host: "127.0.0.1",
    onread: {
      buffer: Buffer.allocUnsafe(BUFFER_BYTES),
      callback(count, buffer) {
        const piece = Buffer.from(buffer.buffer, buffer.byteOffset, count);
        if (bytes === 0) first = piece.toString("latin1", 0, Math.min(count, KEPT_BYTES));
        bytes += count;
        last = Buffer.concat(count >= KEPT_BYTES ? [] : [last, piece]).subarray(-KEPT_BYTES);
        if (count >= KEPT_BYTES) last = Buffer.from(piece.subarray(-KEPT_BYTES));
        // False stops the socket: a reader that never reads on.
        return !order.stall;
      },
    },
  });
  socket.on("connect", () =>
    socket.write(Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), body])),
  );
  socket.on("error", reject);
  socket.on("close", () => {
    const seconds = (performance.now() - started) / 1000;
    resolve({ id: order.id, bytes, seconds, first, last: last.toString("latin1") });
  });
  if (order.stall) process.once("disconnect", () => socket.destroy());
  return promise;
}

process.on("disconnect", () => process.exit());

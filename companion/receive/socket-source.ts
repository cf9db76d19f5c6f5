import { createSecureContext, type SecureContextOptions } from "node:tls";
import { problemError } from "../../client/http.ts";
import { broken, encodeRequest, STREAM_CONTENT_TYPE } from "../../client/stream/frames.ts";
import { STREAM_BATCHES_ROUTE, type BatchMessages, type BatchSource } from "../../client/stream/source.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import { HTTP_PROBLEM_MAX_BYTES } from "../../core/limits.ts";
import { fromUtf8 } from "../../core/text.ts";
import { BatchReceiver } from "./batch-receiver.ts";
import { withCleanup } from "./cleanup.ts";
import { Exchange } from "./exchange.ts";
import type { ResponseHead } from "./http-response.ts";
import { startIdleTimer, type StartIdleTimer } from "./idle-timer.ts";
import { MessagePool } from "./message-pool.ts";
import { releaseMessage } from "./messages.ts";

export interface SocketSourceOptions {
  /** Memory for messages. Default: a pool of this source's own. Streams that share one may wait for each other. */
  readonly pool?: MessagePool;
  /** For https: authorities to trust in place of the platform's, and the certificate of this node with its key. */
  readonly tls?: Pick<SecureContextOptions, "ca" | "cert" | "key" | "passphrase">;
  /** Measures how long the gateway sends nothing (`RECEIVE_IDLE_MS`). Default: the platform's time. */
  readonly startTimer?: StartIdleTimer;
}

/**
 * Streams over a socket of our own: several times as many bytes a CPU second as fetch or connect-node, and into
 * memory that worker threads share. Messages are views of pooled memory: `messageBuffer` tells where they lie, and each
 * is given back with `releaseMessage` when its batch is done with. Messages ahead of their reader are few; then the
 * socket waits.
 *
 * Speaks HTTP/1.1 without proxies, redirects and compression, and says so where it meets them.
 * @throws DataStreamError `invalid_argument` when the certificates cannot be read.
 */
export function socketSource(options: SocketSourceOptions = {}): BatchSource {
  const pool = options.pool ?? new MessagePool();
  const secureContext = options.tls === undefined ? undefined : secureContextOf(options.tls);
  return {
    async open(request, { gateway, accessToken, signal }) {
      const { exchange, head } = await Exchange.send({
        url: new URL(gateway.base + STREAM_BATCHES_ROUTE),
        headers: {
          "content-type": STREAM_CONTENT_TYPE,
          "connect-protocol-version": "1",
          ...(await gateway.authorize("POST", STREAM_BATCHES_ROUTE, accessToken)),
        },
        body: encodeRequest(request),
        secureContext,
        startTimer: options.startTimer ?? startIdleTimer,
        signal,
      });
      try {
        await checkHead(exchange, head);
      } catch (error) {
        exchange.close();
        throw error;
      }
      const receiver = new BatchReceiver(pool, exchange);
      exchange.readInto(receiver);
      return withCleanup(messagesOf(receiver), () => receiver.close());
    },
    discard: releaseMessage,
  };
}

function secureContextOf(
  tls: NonNullable<SocketSourceOptions["tls"]>,
): ReturnType<typeof createSecureContext> {
  try {
    return createSecureContext(tls);
  } catch (cause) {
    // The cause may quote what it was given.
    const { code = "no code" } = cause as NodeJS.ErrnoException;
    throw invalidArgument("tls", `the certificates or their key cannot be read (${code}): they must be PEM.`);
  }
}

async function* messagesOf(receiver: BatchReceiver): BatchMessages {
  try {
    for (;;) {
      const next = await receiver.next();
      if (next.done === true) return next.value;
      yield next.value;
    }
  } finally {
    receiver.close();
  }
}

/** @throws DataStreamError where what follows is no stream. */
async function checkHead(exchange: Exchange, { status, headers }: ResponseHead): Promise<void> {
  if (status >= 300 && status < 400) {
    const target = headers.get("location") ?? "";
    const where = URL.canParse(target) ? ` to ${new URL(target).origin}` : "";
    throw new DataStreamError(
      "failed_precondition",
      `The gateway answered with a redirect (${status})${where}. Streams follow none: use the address that it leads to.`,
    );
  }
  if (status === 407) {
    throw new DataStreamError(
      "failed_precondition",
      "A proxy answered in place of the gateway (407). Streams use none: the gateway must be reached directly.",
    );
  }
  if (status < 200 || status > 299) throw problemError(status, await bodyText(exchange));
  const encoding = headers.get("content-encoding") ?? "identity";
  if (encoding !== "identity") throw broken("a compressed body although none was negotiated");
  const type = headers.get("content-type")?.split(";")[0]?.trim().toLowerCase();
  if (type !== STREAM_CONTENT_TYPE) throw broken("something other than a stream");
}

/** What came of the body until it ended, broke off or became too long. */
function bodyText(exchange: Exchange): Promise<string> {
  const pieces: Uint8Array[] = [];
  let left = HTTP_PROBLEM_MAX_BYTES;
  return new Promise((resolve) => {
    const finish = (): void => {
      exchange.close();
      resolve(fromUtf8(Buffer.concat(pieces)) ?? "");
    };
    exchange.readInto({
      take(bytes) {
        pieces.push(bytes.slice(0, left));
        left -= Math.min(left, bytes.byteLength);
        if (left === 0) finish();
        return bytes.byteLength;
      },
      end: finish,
      fail: finish,
    });
  });
}

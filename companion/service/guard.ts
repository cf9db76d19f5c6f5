/** Who may call the companion's port. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";

export interface GuardOptions {
  /** Host names beside loopback's, in lower case. */
  readonly hosts: readonly string[];
  /** Origins of web pages that may call, in lower case. */
  readonly origins: readonly string[];
  readonly secret: string | undefined;
}

export interface Refusal {
  readonly status: 401 | 403 | 421;
  readonly message: string;
}

/** Takes the secret where `Authorization` carries credentials for the gateway. */
export const SECRET_HEADER = "cyxcloud-companion-secret";

const LOOPBACK = /^(localhost|\[::1\]|127(\.\d{1,3}){3})$/;

/** Decides from a request's headers alone. */
export class Guard {
  readonly #options: GuardOptions;
  readonly #secret: Buffer | undefined;

  constructor(options: GuardOptions) {
    this.#options = options;
    this.#secret = options.secret === undefined ? undefined : digest(options.secret);
  }

  /**
   * Undefined: the request may go on, and its headers no longer hold the companion's own secret.
   * @param call.isUnix came over a Unix socket, which web pages cannot reach and whose names mean nothing.
   */
  check(
    headers: IncomingHttpHeaders,
    { isUnix, needsSecret }: { readonly isUnix: boolean; readonly needsSecret: boolean },
  ): Refusal | undefined {
    // A web page whose name was made to mean this machine (DNS rebinding) still sends its own name.
    const host = hostName(headers[":authority"] ?? headers.host);
    if (!isUnix && !LOOPBACK.test(host) && !this.#options.hosts.includes(host)) {
      return {
        status: 421,
        message:
          "This companion does not answer under that host name. Use localhost, or list the name in allowed_hosts.",
      };
    }
    const { origin } = headers;
    if (origin !== undefined && !this.isAllowedOrigin(origin)) {
      return {
        status: 403,
        message: "Web pages may not call this companion. List their origin in allowed_origins.",
      };
    }
    if (needsSecret && this.#secret !== undefined && !this.#takeSecret(headers, this.#secret)) {
      return {
        status: 401,
        message: `Send the companion's secret as "Authorization: Bearer SECRET", or in the header ${SECRET_HEADER}.`,
      };
    }
    return undefined;
  }

  isAllowedOrigin(origin: string): boolean {
    return this.#options.origins.includes(origin.toLowerCase());
  }

  #takeSecret(headers: IncomingHttpHeaders, secret: Buffer): boolean {
    const own = headers[SECRET_HEADER];
    if (typeof own === "string") {
      delete headers[SECRET_HEADER];
      return timingSafeEqual(digest(own), secret);
    }
    const bearer = /^bearer +(.+)$/i.exec(headers.authorization ?? "")?.[1] ?? "";
    if (!timingSafeEqual(digest(bearer), secret)) return false;
    // It is the companion's: the gateway must not see it.
    delete headers.authorization;
    return true;
  }
}

/** Equal lengths, so that comparing takes the same time whatever was sent. */
function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

function hostName(host: string | string[] | undefined): string {
  return String(host ?? "")
    .toLowerCase()
    .replace(/:\d+$/, "");
}

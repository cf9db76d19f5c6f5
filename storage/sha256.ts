/** SHA-256 (FIPS 180-4), which the public registry and S3 clients know files by. */
import { sha256 as softwareSha256 } from "@noble/hashes/sha2.js";

export interface Sha256 {
  /** The bytes may be reused when the promise settles. */
  update(bytes: Uint8Array): Promise<void>;
  digest(): Promise<Uint8Array>;
  /** Ends without a digest. */
  dispose(): Promise<void>;
}

/** The digest of bytes that are there as a whole. */
export async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

/** Native where the platform has an incremental digest, which Web Crypto lacks outside Workers. */
export function createSha256(): Sha256 {
  const { DigestStream: WorkersDigest } = crypto as { readonly DigestStream?: typeof DigestStream };
  return WorkersDigest === undefined ? portableSha256() : workersSha256(new WorkersDigest("SHA-256"));
}

function workersSha256(stream: DigestStream): Sha256 {
  const writer = stream.getWriter();
  // Rejects when the writer is aborted, and nobody may be waiting for it then.
  stream.digest.catch(() => undefined);
  return {
    update: (bytes) => writer.write(bytes),
    async digest() {
      await writer.close();
      return new Uint8Array(await stream.digest);
    },
    dispose: () => writer.abort().catch(() => undefined),
  };
}

function portableSha256(): Sha256 {
  const hash = softwareSha256.create();
  return {
    async update(bytes) {
      hash.update(bytes);
    },
    async digest() {
      return hash.digest();
    },
    async dispose() {
      hash.destroy();
    },
  };
}

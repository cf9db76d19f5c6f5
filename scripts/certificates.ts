/** X.509 certificates (RFC 5280) with Ed25519 keys (RFC 8410), as small as TLS takes them, for tests and benchmarks. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

export interface Certificate {
  readonly name: string;
  readonly key: KeyObject;
  /** DER. */
  readonly raw: Buffer;
  /** As node:tls takes them. */
  readonly pem: { readonly cert: string; readonly key: string };
}

const SEQUENCE = 0x30;
const ED25519 = der(SEQUENCE, Buffer.from([0x06, 3, 0x2b, 0x65, 0x70]));
const COMMON_NAME = Buffer.from([0x06, 3, 0x55, 0x04, 0x03]);
const BASIC_CONSTRAINTS = Buffer.from([0x06, 3, 0x55, 0x1d, 0x13]);
const ALTERNATIVE_NAME = Buffer.from([0x06, 3, 0x55, 0x1d, 0x11]);

/** @param issuer who signs it; left out: itself, as an authority. It is good for 127.0.0.1 and localhost, for an hour. */
export function createCertificate(name: string, issuer?: Certificate): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const serial = Buffer.concat([Buffer.from([1]), randomBytes(8)]);
  const extension =
    issuer === undefined
      ? der(
          SEQUENCE,
          BASIC_CONSTRAINTS,
          Buffer.from([0x01, 1, 0xff]),
          der(0x04, der(SEQUENCE, Buffer.from([0x01, 1, 0xff]))),
        )
      : der(
          SEQUENCE,
          ALTERNATIVE_NAME,
          der(
            0x04,
            der(SEQUENCE, der(0x82, Buffer.from("localhost")), der(0x87, Buffer.from([127, 0, 0, 1]))),
          ),
        );
  const toBeSigned = der(
    SEQUENCE,
    der(0xa0, Buffer.from([0x02, 1, 2])), // version 3
    der(0x02, serial),
    ED25519,
    distinguishedName(issuer?.name ?? name),
    der(SEQUENCE, time(Date.now() - 60_000), time(Date.now() + 3_600_000)),
    distinguishedName(name),
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, der(SEQUENCE, extension)),
  );
  const signature = sign(null, toBeSigned, issuer?.key ?? privateKey);
  const raw = der(SEQUENCE, toBeSigned, ED25519, der(0x03, Buffer.from([0]), signature));
  const lines = raw
    .toString("base64")
    .match(/.{1,64}/g)
    ?.join("\n");
  return {
    name,
    key: privateKey,
    raw,
    pem: {
      cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
      key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    },
  };
}

function distinguishedName(name: string): Buffer {
  return der(SEQUENCE, der(0x31, der(SEQUENCE, COMMON_NAME, der(0x0c, Buffer.from(name)))));
}

/** UTCTime: YYMMDDhhmmssZ. */
function time(milliseconds: number): Buffer {
  const digits = new Date(milliseconds).toISOString().replaceAll(/\D/g, "").slice(2, 14);
  return der(0x17, Buffer.from(`${digits}Z`));
}

/** Tag, length, contents. */
function der(tag: number, ...contents: readonly Buffer[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  const size = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

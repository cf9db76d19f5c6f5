/** Throw-away certificates for tests, made with openssl: a private key in the repository would look like a leak. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Certificate {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

export interface Certificates {
  /** The authority's certificate, PEM. */
  readonly ca: string;
  /** For localhost, 127.0.0.1 and ::1. */
  readonly server: Certificate;
  readonly client: Certificate;
}

/** An authority, and certificates of a server and a client that it signed; good for a day. */
export function createCertificates(): Certificates {
  const directory = mkdtempSync(join(tmpdir(), "cyxcloud-certificates-"));
  const openssl = (...parameters: string[]): void => {
    execFileSync("openssl", parameters, { cwd: directory, stdio: "pipe" });
  };
  const read = (name: string): string => readFileSync(join(directory, name), "utf8");
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const signed = (name: string, extension: string): Certificate => {
    const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`];
    const authority = ["-CA", "ca.pem", "-CAkey", "ca.key", "-days", "1"];
    openssl("req", "-x509", ...newKey, "-subj", `/CN=${name}`, "-addext", extension, ...authority, ...files);
    return { cert: read(`${name}.pem`), key: read(`${name}.key`) };
  };
  try {
    openssl(
      "req",
      "-x509",
      ...newKey,
      "-subj",
      "/CN=test",
      "-days",
      "1",
      "-keyout",
      "ca.key",
      "-out",
      "ca.pem",
    );
    return {
      ca: read("ca.pem"),
      server: signed("localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"),
      client: signed("client", "extendedKeyUsage=clientAuth"),
    };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

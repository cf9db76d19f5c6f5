/**
 * Signed statements: envelopes of DSSE 1.0 (https://github.com/secure-systems-lab/dsse) with one Ed25519 signature.
 * What is signed is the pre-authentication encoding of type and payload, so a statement of one type never passes as
 * one of another. docs/formats/signatures-v1.md
 */
import { fromBase64, toBase64 } from "../base64.ts";
import { concatBytes, fromHex, toHex } from "../bytes.ts";
import { invalidArgument } from "../errors.ts";
import { ENVELOPE_MAX_BYTES } from "../limits.ts";
import { utf8 } from "../text.ts";
import { type KeyPair, PUBLIC_KEY_BYTES, sign, SIGNATURE_BYTES, verify } from "./ed25519.ts";

/** The JSON form. */
export interface Envelope {
  readonly payloadType: string;
  /** Base64. */
  readonly payload: string;
  /** Exactly one. */
  readonly signatures: readonly [EnvelopeSignature];
}

export interface EnvelopeSignature {
  /** Says which key to try; it is not itself signed. For keys of users: the public key in hexadecimal. */
  readonly keyid: string;
  /** Base64. */
  readonly sig: string;
}

/** PAE(type, body) = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body; lengths are decimal counts of bytes. */
export function preAuthentication(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = utf8(payloadType);
  return concatBytes([utf8(`DSSEv1 ${type.length} `), type, utf8(` ${payload.length} `), payload]);
}

/** The envelope of a payload that was signed elsewhere, over its `preAuthentication`. */
export function envelopeOf(
  payloadType: string,
  payload: Uint8Array,
  keyid: string,
  signature: Uint8Array,
): Envelope {
  return {
    payloadType,
    payload: toBase64(payload),
    signatures: [{ keyid, sig: toBase64(signature) }],
  };
}

/** Signs; `keyid` is the public key in hexadecimal. */
export function signEnvelope(payloadType: string, payload: Uint8Array, key: KeyPair): Envelope {
  const signature = sign(preAuthentication(payloadType, payload), key);
  return envelopeOf(payloadType, payload, toHex(key.publicKey), signature);
}

/**
 * Reads an envelope from outside. NOT checked: the signature.
 * @param maxChars of the payload in base64.
 * @throws `invalid_argument` for anything but the members of `Envelope`, each well-formed.
 */
export function parseEnvelope(
  value: unknown,
  field: string = "envelope",
  maxChars: number = ENVELOPE_MAX_BYTES,
): Envelope {
  const malformed = (what: string): Error =>
    invalidArgument(field, `${what} See docs/formats/signatures-v1.md.`);
  if (!hasExactly(value, ["payload", "payloadType", "signatures"]))
    throw malformed("must be an object of payloadType, payload and signatures.");
  const { payload, payloadType, signatures } = value;
  if (typeof payloadType !== "string" || payloadType === "" || payloadType.length > 128)
    throw malformed("payloadType must be text of at most 128 characters.");
  if (typeof payload !== "string" || payload.length > maxChars || !fromBase64(payload))
    throw malformed(`payload must be padded base64 of at most ${maxChars} characters.`);
  if (!Array.isArray(signatures) || signatures.length !== 1)
    throw malformed("signatures must hold exactly one signature.");
  const signature: unknown = signatures[0];
  if (!hasExactly(signature, ["keyid", "sig"]))
    throw malformed("a signature must be an object of keyid and sig.");
  const { keyid, sig } = signature;
  if (typeof keyid !== "string" || keyid.length > 128)
    throw malformed("keyid must be text of at most 128 characters.");
  if (typeof sig !== "string" || fromBase64(sig)?.length !== SIGNATURE_BYTES)
    throw malformed(`sig must be padded base64 of ${SIGNATURE_BYTES} bytes.`);
  return { payloadType, payload, signatures: [{ keyid, sig }] };
}

/** The public key that the envelope's keyid spells, where it is one in lowercase hexadecimal. */
export function keyOf({ signatures: [{ keyid }] }: Envelope): Uint8Array | undefined {
  const key = fromHex(keyid);
  return key?.length === PUBLIC_KEY_BYTES && toHex(key) === keyid ? key : undefined;
}

/** The payload, if it is of this type and this key signed it; else undefined. */
export function openEnvelope(
  { payloadType, payload, signatures: [{ sig }] }: Envelope,
  wantedType: string,
  publicKey: Uint8Array,
): Uint8Array | undefined {
  const body = fromBase64(payload);
  const signature = fromBase64(sig);
  if (payloadType !== wantedType || body === undefined || signature === undefined) return undefined;
  return verify(signature, preAuthentication(payloadType, body), publicKey) ? body : undefined;
}

/** Whether `value` is an object with these members and no other. */
export function hasExactly<K extends string>(
  value: unknown,
  members: readonly K[],
): value is Readonly<Record<K, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const own = Object.keys(value);
  return own.length === members.length && members.every((member) => own.includes(member));
}

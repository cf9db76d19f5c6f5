/** Documents that a client verifies by itself: manifests and receipts, altered by whoever hands them over. */
import { readReceipt } from "../../client/receipts.ts";
import { fromBase64, toBase64 } from "../../core/base64.ts";
import { equalBytes } from "../../core/bytes.ts";
import { encodeManifest, Manifest, manifestHash, type ManifestFile } from "../../core/dataset/manifest.ts";
import { DataStreamError } from "../../core/errors.ts";
import { utf8 } from "../../core/text.ts";
import { DATASET_STATEMENT_TYPE } from "../../core/trust/dataset-statement.ts";
import { type Envelope, envelopeOf, preAuthentication } from "../../core/trust/dsse.ts";
import { statementBytes } from "../../core/trust/statement.ts";
import { loadKernels } from "../../kernels/index.ts";
import { verifyByClient } from "../receipts/verifiers.ts";
import { clientOf } from "../trust/fixture.ts";
import { type Attack, type AttackClass, varied } from "./classes.ts";
import { ACCEPTED, type Answer, refusedAs } from "./send.ts";
import { ed25519, type World } from "./world.ts";

/** The payload as an attacker sees it. */
// oxlint-disable-next-line typescript/no-explicit-any -- anything may be changed
type Loose = any;

export async function documentClasses(world: World): Promise<AttackClass[]> {
  return [await handedManifests(world), await ambiguousManifests(), await receipts(world)];
}

async function answerOf(run: () => unknown): Promise<Answer> {
  try {
    await run();
    return ACCEPTED;
  } catch (error) {
    if (!(error instanceof DataStreamError)) throw error;
    return refusedAs(error.code);
  }
}

/** What the gateway, or somebody on the way, hands to a client in place of the manifest. */
async function handedManifests(world: World): Promise<AttackClass> {
  const { ada, v2 } = world;
  const address = `/api/datasets/${v2}/manifest`;
  const sound = new Uint8Array(await (await world.gateway.request(address)).arrayBuffer());
  const manifest = Manifest.parse(sound);
  const files = Array.from({ length: manifest.count }, (_, index) => manifest.item(index));
  const open = (bytes: Uint8Array, info: Readonly<Record<string, unknown>> = {}): Promise<Answer> =>
    answerOf(() =>
      clientOf(world.gateway, {
        apiKey: ada.apiKey,
        fetch: async (input, init) => {
          const { pathname } = new URL(new Request(input).url);
          if (pathname === address) return new Response(bytes.slice());
          const response = await fetch(input, init);
          if (pathname !== `/api/datasets/${v2}`) return response;
          return Response.json({ ...((await response.json()) as object), ...info });
        },
      }).openDataset(v2),
    );
  const [first, second, ...rest] = files as [ManifestFile, ManifestFile, ...ManifestFile[]];
  const bytesOf: Readonly<Record<string, () => Uint8Array>> = {
    "a file dropped": () => encodeManifest(files.slice(1)),
    "a file added": () => encodeManifest([...files, { ...second, path: "zz" }]),
    "a file renamed": () => encodeManifest([{ ...first, path: "a" }, second, ...rest]),
    "two files' contents exchanged": () =>
      encodeManifest([
        { ...first, contentHash: second.contentHash },
        { ...second, contentHash: first.contentHash },
        ...rest,
      ]),
    "another content": () => encodeManifest([{ ...first, contentHash: new Uint8Array(32) }, second, ...rest]),
    "another size": () => encodeManifest([{ ...first, size: first.size + 1 }, second, ...rest]),
    "two files joined by their hash": () =>
      encodeManifest([{ ...first, path: `${first.path}${hex(first.contentHash)}${second.path}` }, ...rest]),
    "one bit of the header": () => flipped(sound, 8 * 41),
    "one bit of a record": () => flipped(sound, 8 * 80),
    "one bit of a path": () => flipped(sound, 8 * (sound.length - 1)),
    cut: () => sound.subarray(0, sound.length - 1),
    "one byte longer": () => Uint8Array.from([...sound, 0]),
    empty: () => new Uint8Array(),
  };
  const { blake3 } = await loadKernels({ heapBytes: 1024 * 1024 });
  const consistent = (): Promise<Answer> => {
    const bytes = encodeManifest(files.slice(1));
    const { totalSize, count } = Manifest.parse(bytes);
    // Everything agrees; only the hash that the caller named does not.
    return answerOf(() =>
      pinned(
        world,
        hex(manifestHash(sound, blake3)),
        bytes,
        hex(manifestHash(bytes, blake3)),
        count,
        totalSize,
      ),
    );
  };
  return {
    name: "manifest: what is handed over",
    code: "data_loss",
    sound: () => open(sound),
    attacks: [
      ...varied(bytesOf, (bytes) => open(bytes())),
      {
        what: "another schema beside it",
        attempt: () => open(sound, { schema: { type: "bytes", format: "bin" } }),
      },
      { what: "another hash beside it", attempt: () => open(sound, { content_hash: "ab".repeat(32) }) },
      { what: "another version beside it", attempt: () => open(sound, { id: world.v1 }) },
      { what: "consistent, but not what was named", attempt: consistent },
    ],
  };
}

function pinned(
  world: World,
  wanted: string,
  bytes: Uint8Array,
  content_hash: string,
  file_count: number,
  total_size_bytes: number,
): Promise<unknown> {
  return clientOf(world.gateway, {
    apiKey: world.ada.apiKey,
    fetch: async (input, init) => {
      const { pathname } = new URL(new Request(input).url);
      if (pathname.endsWith("/manifest")) return new Response(bytes.slice());
      const response = await fetch(input, init);
      const info = (await response.json()) as object;
      return Response.json({ ...info, content_hash, file_count, total_size_bytes });
    },
  }).openDataset(`words@blake3:${wanted}`);
}

/** Bytes that could mean two lists of files, or a list that no dataset may have. */
async function ambiguousManifests(): Promise<AttackClass> {
  const { blake3 } = await loadKernels({ heapBytes: 1024 * 1024 });
  const file = (path: string, seed: number, size = 1): ManifestFile => ({
    path,
    size,
    contentHash: new Uint8Array(32).fill(seed),
  });
  const sound = [file("a/1", 1), file("b/2", 2)];
  const bytes = encodeManifest(sound);
  const parse = (altered: Uint8Array): Promise<Answer> => answerOf(() => Manifest.parse(altered));
  /** In place of the paths `a/1` and `b/2`, whose bytes are the last six. */
  const withPaths = (first: string, second: string): Uint8Array => {
    const altered = bytes.slice();
    altered.set(utf8(first + second), altered.length - 6);
    return altered;
  };
  const poked = (at: number, ...values: number[]): Uint8Array => {
    const altered = bytes.slice();
    altered.set(values, at);
    return altered;
  };
  const collision = (): Promise<Answer> => {
    const [one, two] = sound as [ManifestFile, ManifestFile];
    const joined = encodeManifest([{ ...two, path: `${one.path}${hex(one.contentHash)}${two.path}` }]);
    const same = equalBytes(manifestHash(joined, blake3), manifestHash(bytes, blake3));
    return Promise.resolve(same ? ACCEPTED : refusedAs("data_loss"));
  };
  return {
    name: "manifest: ambiguous or unsound",
    code: "data_loss",
    sound: () => parse(bytes),
    attacks: [
      ...varied<Uint8Array>(
        {
          "the same path twice": withPaths("a/1", "a/1"),
          "paths out of order": withPaths("b/2", "a/1"),
          "a path upwards": withPaths("../", "b/2"),
          "a path that starts with a slash": withPaths("/a1", "b/2"),
          "NUL in a path": withPaths("a\u00001", "b/2"),
          "a backslash": withPaths("a\\1", "b\u00002"),
          "a path that is not NFC": withPaths("e\u0301", "b/2"),
          "bytes that are no UTF-8": poked(bytes.length - 6, 0xff, 0xfe),
          "an empty path element": withPaths("a//", "b/2"),
          "another magic": poked(0, 0),
          "another version": poked(4, 2),
          "an unknown flag": poked(6, 2),
          "a count that is too large": poked(8, 3),
          "a count of none": poked(8, 0),
          "paths that begin elsewhere": poked(16, 0),
          "reserved bytes that are not zero": poked(40, 1),
          "a path that ends before it begins": poked(64, 200),
          "a size beyond all": poked(72, 255, 255, 255, 255, 255, 255, 255, 255),
          "a sum that is none": poked(32, 9),
        },
        parse,
      ),
      { what: "one hash for two lists, by joining path and hash", attempt: collision },
    ],
  };
}

async function receipts(world: World): Promise<AttackClass> {
  const { ada, v2, stream } = world;
  const original = await ada.client.receipts.evidence(v2, stream.id);
  const sign = ed25519(world.signingKeys.current);
  const type = original.envelope.payloadType;
  const signedBy = (
    payload: Uint8Array,
    by: (input: Buffer) => Uint8Array,
    kid = "current",
    as = type,
  ): Envelope => envelopeOf(as, payload, kid, by(Buffer.from(preAuthentication(as, payload))));
  const verify = async (envelope: unknown): Promise<Answer> => {
    if (JSON.stringify(envelope) === JSON.stringify(original.envelope))
      throw new Error("Nothing was changed.");
    return (await verifyByClient({ ...original, envelope })).accepted ? ACCEPTED : refusedAs("refused");
  };
  const loose = (): Loose => structuredClone(readReceipt(original.envelope));
  const lie = (alter: (receipt: Loose) => void): Envelope => {
    const receipt = loose();
    alter(receipt);
    return signedBy(statementBytes(receipt), sign);
  };
  const unsigned = (alter: (receipt: Loose) => void): Envelope => {
    const receipt = loose();
    alter(receipt);
    return { ...original.envelope, payload: toBase64(statementBytes(receipt)) };
  };
  const payload = fromBase64(original.envelope.payload) as Uint8Array;
  const [{ sig, keyid }] = original.envelope.signatures;
  const signature = (change: object): unknown => ({
    ...original.envelope,
    signatures: [{ sig, keyid, ...change }],
  });
  const made = (what: string, envelope: () => unknown): Attack => ({
    what,
    attempt: () => verify(envelope()),
  });
  const alterations: Readonly<Record<string, (receipt: Loose) => void>> = {
    "another user": (r) => (r.user_id = world.bob.userId),
    "another stream": (r) => (r.stream_id = "other"),
    "another dataset": (r) => (r.parameters.dataset_id = world.v1),
    "another content": (r) => (r.parameters.content_hash = "ab".repeat(32)),
    "an earlier start": (r) => (r.started_at = "2020-01-01T00:00:00.000Z"),
    "another issuer": (r) => (r.issuer = "urn:other"),
  };
  return {
    name: "receipt",
    code: "refused",
    sound: async () => ((await verifyByClient(original)).accepted ? ACCEPTED : refusedAs("refused")),
    attacks: [
      ...Object.entries(alterations).map(([what, alter]) => made(`${what}, unsigned`, () => unsigned(alter))),
      made("signed by a key that is over", () => signedBy(payload, ed25519(world.signingKeys.over), "over")),
      made("signed by another key under the kid", () => signedBy(payload, ed25519(world.signingKeys.second))),
      made("under another kid", () => signature({ keyid: "second" })),
      made("under a kid that nobody has", () => signature({ keyid: "none" })),
      made("signature of zeros", () => signature({ sig: toBase64(new Uint8Array(64)) })),
      made("one bit of the signature", () =>
        signature({ sig: toBase64(flipped(fromBase64(sig) as Uint8Array, 9)) }),
      ),
      made("of another type", () => ({ ...original.envelope, payloadType: DATASET_STATEMENT_TYPE })),
      made("signed as another type", () => signedBy(payload, sign, "current", DATASET_STATEMENT_TYPE)),
      made("in another spelling", () => signedBy(utf8(` ${Buffer.from(payload).toString()}`), sign)),
      made("another content, signed", () => lie(alterations["another content"] as (receipt: Loose) => void)),
      made("another format, signed", () => lie((r) => (r.format = 2))),
      made("a member more, signed", () => lie((r) => (r.extra = 1))),
    ],
  };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const altered = bytes.slice();
  altered[bit >> 3] = (altered[bit >> 3] as number) ^ (1 << (bit & 7));
  return altered;
}

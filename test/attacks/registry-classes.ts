/** Datasets that only look like an entry of the public registry, and entries that only look like a dataset. */
import { createHash, randomUUID } from "node:crypto";
import { deletePublicDataset, insertPublicDataset } from "../../catalog/registry.ts";
import { encodeManifest, Manifest, type ManifestFile, manifestHash } from "../../core/dataset/manifest.ts";
import { fromHex } from "../../core/bytes.ts";
import { utf8 } from "../../core/text.ts";
import { loadKernels } from "../../kernels/index.ts";
import type { Attack, AttackClass } from "./classes.ts";
import { ACCEPTED, type Answer, refusedAs } from "./send.ts";
import type { World } from "./world.ts";

export async function registryClasses(world: World): Promise<AttackClass[]> {
  const registry = new Registry(world);
  return [byFiles(registry), await byManifest(registry)];
}

interface PublishedFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What an entry says of a file. */
interface Claim {
  readonly path: string;
  readonly sha256: Uint8Array | null;
  readonly md5: Uint8Array;
  readonly size: number | null;
}

const digest = (algorithm: "sha256" | "md5", bytes: Uint8Array): Uint8Array =>
  new Uint8Array(createHash(algorithm).update(bytes).digest());
const claimOf = ({ path, bytes }: PublishedFile): Claim => ({
  path,
  sha256: digest("sha256", bytes),
  md5: digest("md5", bytes),
  size: bytes.length,
});

class Registry {
  readonly #world: World;
  #bucket: Promise<unknown> | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** A dataset version of just these files. @returns its id. */
  async dataset(files: readonly PublishedFile[]): Promise<string> {
    this.#bucket ??= this.#world.gateway.request("/api/buckets/lookalikes", { method: "PUT" });
    await this.#bucket;
    const { client } = this.#world.ada;
    const name = `set-${randomUUID()}`;
    await client.uploadFolder({ bucket: "lookalikes", prefix: `${name}/` }, blobs(files));
    const schema = { type: "bytes", format: "bin" };
    return (await client.datasets.create({ name, files: [`lookalikes/${name}/**`], schema })).id;
  }

  async manifest(dataset: string): Promise<Uint8Array> {
    const answer = await this.#world.gateway.request(`/api/datasets/${dataset}/manifest`);
    return new Uint8Array(await answer.arrayBuffer());
  }

  /** Whether a dataset verifies while the registry has this entry. */
  async compare(
    dataset: string,
    entry: { readonly claims?: readonly Claim[]; readonly officialHash?: Uint8Array },
  ): Promise<Answer> {
    const { sql } = this.#world.gateway.database;
    const id = randomUUID();
    const claims = entry.claims ?? [];
    await insertPublicDataset(sql, {
      id,
      name: `Entry ${id}`,
      version: "1",
      officialUrl: "https://example.org",
      license: null,
      verifiedBy: ["somebody"],
      recipe: null,
      officialHash: entry.officialHash ?? null,
      files: claims.map((claim) => ({ ...claim, url: null, source: "somebody" })),
    });
    const { client } = this.#world.ada;
    const { public_match, trust } = await client.datasets.verify(dataset, { checkPublicRegistry: true });
    await deletePublicDataset(sql, id);
    return public_match !== null && trust === "verified" ? ACCEPTED : refusedAs(trust);
  }
}

async function* blobs(files: readonly PublishedFile[]): AsyncGenerator<{ path: string; blob: Blob }> {
  for (const { path, bytes } of files) yield { path, blob: new Blob([bytes.slice()]) };
}

/** Two different blocks of 128 bytes with one MD5, found by Wang and Yu in 2004. */
export const COLLISION: readonly [Uint8Array, Uint8Array] = [
  "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f8955ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5bd8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70",
  "d131dd02c5e6eec4693d9a0698aff95c2fcab50712467eab4004583eb8fb7f8955ad340609f4b30283e4888325f1415a085125e8f7cdc99fd91dbd7280373c5bd8823e3156348f5bae6dacd436c919c6dd53e23487da03fd02396306d248cda0e99f33420f577ee8ce54b67080280d1ec69821bcb6a8839396f965ab6ff72a70",
].map((hex) => fromHex(hex) as Uint8Array) as [Uint8Array, Uint8Array];

/** Files of the dataset, or what the entry claims, in another way than they were published. */
interface Forgery {
  readonly published?: readonly PublishedFile[];
  readonly files?: (published: readonly PublishedFile[]) => readonly PublishedFile[];
  readonly claims?: (claims: readonly Claim[]) => readonly Claim[];
}

const CATS: PublishedFile = { path: "cats.bin", bytes: utf8("many cats") };
const DOGS: PublishedFile = { path: "dogs.bin", bytes: utf8("many dogs") };
const COLLIDING: PublishedFile = { path: "block.bin", bytes: COLLISION[0] };

const FORGERIES: Readonly<Record<string, Forgery>> = {
  "another file with the same MD5 and size": {
    published: [COLLIDING],
    files: () => [{ ...COLLIDING, bytes: COLLISION[1] }],
  },
  "the same, where MD5 is all that was published": {
    published: [COLLIDING],
    files: () => [{ ...COLLIDING, bytes: COLLISION[1] }],
    claims: (claims) => claims.map((claim) => ({ ...claim, sha256: null })),
  },
  "the true files, where no SHA-256 was published": {
    claims: (claims) => claims.map((claim) => ({ ...claim, sha256: null })),
  },
  "the true files, where one has no SHA-256": {
    claims: ([first, ...rest]) => [{ ...(first as Claim), sha256: null }, ...rest],
  },
  "another file of the same size": { files: () => [CATS, { ...DOGS, bytes: utf8("many dogx") }] },
  "the published size alone is wrong": {
    claims: ([first, ...rest]) => [{ ...(first as Claim), size: CATS.bytes.length + 1 }, ...rest],
  },
  "the contents exchanged": {
    files: () => [
      { ...CATS, bytes: DOGS.bytes },
      { ...DOGS, bytes: CATS.bytes },
    ],
  },
  "one file's content in place of the other's": { files: () => [CATS, { ...DOGS, bytes: CATS.bytes }] },
  "the SHA-256 of another file": {
    claims: ([first, second]) => [first as Claim, { ...(second as Claim), sha256: (first as Claim).sha256 }],
  },
  "a file missing": { files: () => [CATS] },
  "a file more": { files: () => [CATS, DOGS, { path: "readme.txt", bytes: utf8("hello") }] },
  "an empty file more": { files: () => [CATS, DOGS, { path: "empty", bytes: new Uint8Array() }] },
  "a file renamed": { files: () => [CATS, { ...DOGS, path: "wolves.bin" }] },
  "a name in other letters": { files: () => [CATS, { ...DOGS, path: "Dogs.bin" }] },
  "a name that only ends alike": { files: () => [CATS, { ...DOGS, path: "hotdogs.bin" }] },
  "files in two folders": {
    files: () => [
      { ...CATS, path: "a/cats.bin" },
      { ...DOGS, path: "b/dogs.bin" },
    ],
  },
};

function byFiles(registry: Registry): AttackClass {
  const attacks = Object.entries(FORGERIES).map(([what, forgery]): Attack => {
    const published = forgery.published ?? [CATS, DOGS];
    const claims = published.map(claimOf);
    return {
      what,
      sound: async () => registry.compare(await registry.dataset(published), { claims }),
      attempt: async () =>
        registry.compare(await registry.dataset(forgery.files?.(published) ?? published), {
          claims: forgery.claims?.(claims) ?? claims,
        }),
    };
  });
  return { name: "registry: look-alikes by their files", code: "self", attacks };
}

async function byManifest(registry: Registry): Promise<AttackClass> {
  const { blake3 } = await loadKernels({ heapBytes: 1024 * 1024 });
  const dataset = await registry.dataset([CATS, DOGS, COLLIDING]);
  const manifest = await registry.manifest(dataset);
  const files = Array.from({ length: 3 }, (_, index) => Manifest.parse(manifest).item(index));
  const hashOf = (changed: readonly ManifestFile[]): Uint8Array =>
    manifestHash(encodeManifest(changed), blake3);
  const [first, second, third] = files as [ManifestFile, ManifestFile, ManifestFile];
  const unframed = Buffer.concat(files.flatMap(({ path, contentHash }) => [utf8(path), contentHash]));
  const hashes: Readonly<Record<string, Uint8Array>> = {
    "of the list in another order": hashOf([third, first, second]),
    "of a list with a file less": hashOf([first, second]),
    "of a list with a file more": hashOf([...files, { ...first, path: "zz" }]),
    "of a list with contents exchanged": hashOf([
      { ...first, contentHash: second.contentHash },
      { ...second, contentHash: first.contentHash },
      third,
    ]),
    "of a list with another size": hashOf([{ ...first, size: first.size + 1 }, second, third]),
    "of a list below a folder": hashOf(files.map((file) => ({ ...file, path: `data/${file.path}` }))),
    "of names and hashes without a frame": blake3.hash(unframed),
    "of a file": first.contentHash,
    "that is SHA-256 of the manifest": digest("sha256", manifest),
    "of the manifest and a byte": blake3.hash(Uint8Array.from([...manifest, 0])),
    "that is zero": new Uint8Array(32),
  };
  return {
    name: "registry: hashes that are not the manifest's",
    code: "self",
    sound: () => registry.compare(dataset, { officialHash: manifestHash(manifest, blake3) }),
    attacks: Object.entries(hashes).map(([what, officialHash]) => ({
      what,
      attempt: () => registry.compare(dataset, { officialHash }),
    })),
  };
}

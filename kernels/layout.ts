/**
 * The memory below the heap. The kernels' own constants and scratch areas come first
 * (kernels/assembly/scratch.ts); the areas here belong to the binding. Addresses in bytes.
 */
const KIB = 1024;

/** The kernels must leave everything from here on alone. */
export const KERNEL_END: number = 32 * KIB;

/** BLAKE3's initialisation vector, which serves as the key of a plain hash. */
export const INITIAL_KEY: number = KERNEL_END + 64;
/** The key of a derivation at hand. */
export const DERIVED_KEY: number = INITIAL_KEY + 32;
/** Where the kernels leave one digest. */
export const DIGEST: number = INITIAL_KEY + 64;
/** Two chaining values to be joined. */
export const CHILDREN: number = INITIAL_KEY + 128;
/** Shard pointers: 32 data shards, then 4 outputs or parity shards. */
export const SHARD_POINTERS: number = INITIAL_KEY + 192;
export const OUTPUT_POINTERS: number = SHARD_POINTERS + 32 * 4;
/** Items of one kernel call, as (pointer, length), and their digests. */
export const ITEMS_PER_CALL = 128;
export const ITEMS: number = KERNEL_END + 1 * KIB;
export const ITEM_DIGESTS: number = KERNEL_END + 2 * KIB;
/** Multiplication tables of one reconstruction: 4 outputs x 32 shards x 32 bytes. */
export const TABLES: number = KERNEL_END + 6 * KIB;

/** What the image kernels are called with. */
export const RESAMPLE_TABLE: number = KERNEL_END + 12 * KIB;
export const LOOK_UP_TABLE: number = RESAMPLE_TABLE + 128;

/** Incremental hashes that are in memory at once; more are swapped out. One beyond them serves one-shot calls. */
export const STATE_BYTES = 2880;
export const STATE_SLOTS = 16;
export const STATES: number = KERNEL_END + 16 * KIB;
export const OWN_STATE: number = STATES + STATE_SLOTS * STATE_BYTES;

/** Where input from outside is copied to: small enough for the second-level cache. */
export const STAGING: number = 128 * KIB;
export const STAGING_BYTES: number = 128 * KIB;

export const HEAP_START: number = 256 * KIB;

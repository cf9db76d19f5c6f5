/**
 * Every limit of the product: the unit is in the name, the reason beside it.
 * Sources: Cloudflare Workers limits (https://developers.cloudflare.com/workers/platform/limits/)
 * and R2 limits (https://developers.cloudflare.com/r2/platform/limits/), unless said otherwise.
 */

const KIB = 1024;
const MIB = 1024 * KIB;

// --- Edge runtime -----------------------------------------------------------
/** Simultaneous outgoing connections of one Worker invocation, R2 calls included. */
export const CONNECTIONS_PER_INVOCATION: number = 6;
/**
 * Bytes that all streams and uploads of one isolate may hold at once. Of its 128 MB the JavaScript heap takes about 40
 * under load, and read buffers beside the budget (`READ_RESERVE_BYTES`, what the pool keeps) the rest.
 */
export const ISOLATE_BUDGET_BYTES: number = 48 * MIB;
/** How long a request waits for its share of the isolate's budget before it is refused with `resource_exhausted`. */
export const ISOLATE_BUDGET_WAIT_MS: number = 20_000;
/** Subrequests (storage reads, SQL, Durable Object calls) after which a stream hands over to a new invocation. The platform allows 10,000. */
export const INVOCATION_SUBREQUESTS: number = 8_000;
/** CPU time after which a stream hands over; the platform allows 5 minutes. Estimated from bytes moved. */
export const INVOCATION_BYTES: number = 40 * 1024 * MIB;
/** Age after which a stream hands over, so that deployments drain. */
export const INVOCATION_AGE_MS: number = 30 * 60_000;

// --- Uploads and objects ----------------------------------------------------
/** Largest body of one uploaded part; the edge refuses bodies above 100 MB. */
export const PART_MAX_BYTES: number = 64 * MIB;
/** Part size that our clients use. A power of two, so that a part is a subtree of the object's BLAKE3 tree. */
export const PART_DEFAULT_BYTES: number = 16 * MIB;
/** Parts of one upload. */
export const PARTS_MAX: number = 100_000;
/** An upload whose body brings nothing for so long is cancelled: it holds the memory of a chunk. */
export const UPLOAD_STALL_MS: number = 30_000;
/** Longest object key or dataset path, in UTF-8 bytes. */
export const PATH_MAX_BYTES: number = 1024;
/** Files of one tar part, so that its commit is one bounded transaction of at most about 10 MB. */
export const TAR_PART_MAX_ENTRIES: number = 20_000;
/** An upload that nothing touched for so long is aborted by GC. */
export const UPLOAD_LEASE_MS: number = 24 * 3_600_000;
/** A part that takes longer than this from the intent to write a chunk to its commit is refused once GC met it. */
export const CHUNK_INTENT_LEASE_MS: number = 3_600_000;
/** Chunks whose intents are recorded in one statement. */
export const CHUNK_INTENTS_PER_STATEMENT: number = 64;
/** Grace between condemning a chunk and deleting its shards. */
export const GC_GRACE_MS: number = 24 * 3_600_000;
/** Entries of one page of a list, and keys of one bulk delete: R2 and S3 draw the line there too. */
export const LIST_MAX_ENTRIES: number = 1_000;
export const BULK_DELETE_MAX_KEYS: number = 1_000;
/** Shards that one call of the repair route rewrites at most. */
export const REPAIR_MAX_SHARDS: number = 1_000;
/** Chunks that one call of the scrub route looks at at most: each is up to 36 reads. */
export const SCRUB_MAX_CHUNKS: number = 200;
/** What a scheduled run looks at, and how often a pass through all chunks begins. */
export interface ScrubSchedule {
  readonly chunksPerRun: number;
  /** The position is kept after so many. */
  readonly chunksPerStep: number;
  readonly passMs: number;
}
/**
 * Every five minutes: 57,600 chunks a day are asked for their shards' lengths, 345,600 requests of $0.36 a million; 4,608
 * are read whole, up to 110 GB. A pass that takes longer than its time is followed by the next at once.
 */
export const SCRUB_SCHEDULES: Readonly<Record<"size" | "hash", ScrubSchedule>> = {
  size: { chunksPerRun: 200, chunksPerStep: 50, passMs: 24 * 3_600_000 },
  hash: { chunksPerRun: 16, chunksPerStep: 4, passMs: 30 * 24 * 3_600_000 },
};
/** How long each kind of scheduled maintenance begins further steps; a cron trigger has 30 s of CPU time. */
export const MAINTENANCE_MS: number = 10_000;
/** Shards that one step of scheduled repair takes on. */
export const MAINTENANCE_STEP_SHARDS: number = 32;
/** A storage node that answers no probe within this time counts as unreachable. */
export const NODE_PROBE_TIMEOUT_MS: number = 3_000;
/** Largest JSON request body. */
export const JSON_BODY_MAX_BYTES: number = 1 * MIB;

// --- Chunks and shards ------------------------------------------------------
/** Data bytes of a chunk, unless its bucket says less. */
export const CHUNK_DEFAULT_BYTES: number = 16 * MIB;
export const CHUNK_MAX_BYTES: number = 16 * MIB;
/** Smallest configurable chunk: small enough to test many chunks with little data. */
export const CHUNK_MIN_BYTES: number = 4 * KIB;
/** A chunk with its parity is in memory while it is written: it has to leave room for streams. */
export const CODED_CHUNK_MAX_BYTES: number = 32 * MIB;
/** Keys of one R2 delete call. */
export const R2_DELETE_MAX_KEYS: number = 1_000;
/**
 * Memory beside the isolate's budget for reads that a started stream cannot do without. It is held
 * during one read only, so that such a read never waits for a stream that waits for memory itself.
 */
export const READ_RESERVE_BYTES: number = 8 * MIB;
/** Objects up to this size are read whole and checked before their first byte leaves. */
export const OBJECT_WHOLE_READ_BYTES: number = 1 * MIB;
/** Read buffers that an isolate keeps for reuse: as many as are in use at once, since what is dropped stays until the engine collects it. */
export const READ_POOL_BYTES: number = 24 * MIB;
/** Chunks whose shards an isolate remembers: about 1 KiB each. */
export const CHUNK_CACHE_CHUNKS: number = 4_096;
/** How long it may remember them: repair and rebalancing move shards. */
export const CHUNK_CACHE_TTL_MS: number = 60_000;
/** Shards are multiples of this: one BLAKE3 block, and two steps of the Reed-Solomon kernel. */
export const SHARD_ALIGNMENT_BYTES: number = 64;
/** The geometries for which every loss pattern is known to be solvable with our generator matrix. */
export const DATA_SHARDS_MAX: number = 21;
export const PARITY_SHARDS_MAX: number = 4;

// --- Datasets ---------------------------------------------------------------
/** Files of one dataset: order v1 is defined for N ≤ 2^32. */
export const DATASET_MAX_FILES: number = 2 ** 32;
/** Longest dataset name, in characters. */
export const DATASET_NAME_MAX_CHARS: number = 128;
/** Largest canonical JSON form of a dataset's schema. */
export const SCHEMA_MAX_BYTES: number = 256 * KIB;
/** Globs that one dataset is created from. */
export const DATASET_MAX_GLOBS: number = 64;
/** Longest description of a dataset, in characters. */
export const DATASET_DESCRIPTION_MAX_CHARS: number = 4_096;
/** Objects that one step of a job looks at: a page of a few hundred KiB, and one bounded transaction. */
export const JOB_STEP_FILES: number = 5_000;
/** Bytes that one step of a job reads again. */
export const JOB_STEP_BYTES: number = 64 * MIB;
/** Tries of one step of a job that fails unexpectedly, before the job fails: about a minute. */
export const JOB_STEP_ATTEMPTS: number = 8;
/** The same where a node, the database or memory is not available: about a quarter of an hour. */
export const JOB_STEP_ATTEMPTS_UNAVAILABLE: number = 20;
/** Chunk size of manifests: small, so that a page of 64 KiB is a small read. */
export const MANIFEST_CHUNK_BYTES: number = 1 * MIB;
/** Files up to which a verification without reading them answers at once; beyond it is a job. */
export const VERIFY_INLINE_MAX_FILES: number = 20_000;
/** Failures that VerifyDataset lists; the counts are always complete. */
export const VERIFY_MAX_LISTED_FAILURES: number = 1_000;

/** Attestors on one list. */
export const ATTESTORS_MAX: number = 200;
/** How long a version of the list of attestors is in force, unless it says; and at most. */
export const ATTESTOR_LIST_DEFAULT_SECONDS: number = 365 * 24 * 3_600;
export const ATTESTOR_LIST_MAX_SECONDS: number = 2 * 365 * 24 * 3_600;
/** How long an attestation may last. */
export const ATTESTATION_MAX_SECONDS: number = 2 * 365 * 24 * 3_600;
/** How far an attestor's clock may be ahead of ours. */
export const ATTESTATION_CLOCK_SECONDS: number = 300;
/** Longest claim of an attestation, in characters. */
export const CLAIM_MAX_CHARS: number = 1_024;
/** Files of one entry of the public registry. */
export const REGISTRY_MAX_FILES: number = 1_000;
/** Largest file whose SHA-256 is computed afterwards: a step of a job, which the platform ends after 15 minutes. */
export const REGISTRY_HASH_MAX_BYTES: number = 8 * 1024 * MIB;
/** Files that one step of an unpacking job writes, and their bytes; a larger file is a step of its own. */
export const UNPACK_STEP_FILES: number = 10_000;
export const UNPACK_STEP_BYTES: number = 32 * MIB;
/** Chunk size of unpacked files: small, since an unpacking job reads while it fills one. */
export const UNPACK_CHUNK_BYTES: number = 4 * MIB;
/** Files that an unpacked dataset may have: more would be read over too often. */
export const UNPACK_MAX_FILES: number = 200_000;
/** Labels of one idx file, which are held at once. */
export const IDX_MAX_ITEMS: number = 1 << 20;

// --- Streams ----------------------------------------------------------------
/** Items of one batch. */
export const BATCH_MAX_ITEMS: number = 65_536;
/** Largest item that can be streamed. */
export const ITEM_MAX_BYTES: number = 32 * MIB;
/** Largest batch, so that a message, its successor and the reads for it fit the isolate. */
export const BATCH_MAX_BYTES: number = 32 * MIB;
/** Characters of a stream id. */
export const STREAM_ID_MAX_CHARS: number = 128;
/** Batches of one leased window: what a stream locates, chains and records ahead in one step. */
export const WINDOW_MAX_BATCHES: number = 8;
/** A window takes no further batch when it has so many items; a batch of more is a window by itself. */
export const WINDOW_MAX_ITEMS: number = 2_048;
/** A window of a block shuffle covers whole groups of blocks, so that each is read once, up to so many items. */
export const WINDOW_BLOCK_MAX_ITEMS: number = 16_384;
/** A stream that nobody used for so long is forgotten but for its receipt: its id starts anew. */
export const STREAM_SESSION_IDLE_MS: number = 7 * 24 * 3_600_000;
/** A session whose receipt could not be kept tries again after this long. */
export const RECEIPT_RETRY_MS: number = 3_600_000;
/** Leases that a receipt lists, the latest: about 500 bytes each, and an object answers at most 32 MiB. */
export const RECEIPT_MAX_LEASES: number = 16_384;
/** Characters of the payload of a receipt in base64. */
export const RECEIPT_MAX_CHARS: number = 24 * MIB;
/** Ranks of one stream. */
export const WORLD_SIZE_MAX: number = 65_536;
/** Streams that are mixed into one. */
export const MIXED_STREAMS_MAX: number = 64;
/** Sum of the weights of mixed streams, without their common divisor: the length of the cycle, which is kept in memory. */
export const MIXING_CYCLE_MAX: number = 65_536;
/** Lanes of a block shuffle. */
export const LANES_DEFAULT: number = 16;
export const LANES_MAX: number = 1_024;
/** Items of one block of a block shuffle. */
export const BLOCK_MAX_ITEMS: number = 1 << 24;
/** Blocks of a lane that are shuffled together, unless the budget holds fewer: of 1 MiB in 16 lanes it holds one. */
export const BLOCKS_PER_GROUP_DEFAULT: number = 2;
export const BLOCKS_PER_GROUP_MAX: number = 1_024;
/** Mean block size that block shuffle aims at when the caller gives none. */
export const BLOCK_TARGET_BYTES: number = 1 * MIB;
/**
 * Bytes of blocks that a block shuffle may keep open, L × W × block bytes. They and the next message fit what streams
 * may read ahead: blocks that do not stay in memory would be read again for every batch.
 */
export const BLOCK_SHUFFLE_BUDGET_BYTES: number = 16 * MIB;
/** Neighbouring ranges closer than this are read as one. */
export const READ_MERGE_GAP_BYTES: number = 64 * KIB;
/** Range size that the read plan aims at. */
export const READ_TARGET_BYTES: number = 1 * MIB;
/** A running stream asks this often, at most, whether its token still holds; each leased window asks as well. */
export const REVOCATION_CHECK_MS: number = 1_000;
/** A message goes to the runtime in pieces of this size: it copies what a slow connection does not take, and copies of 4 MiB a stream add up. */
export const SEND_PIECE_BYTES: number = 1 * MIB;
/** A stream whose reader takes nothing for so long is cut: it holds a message. Our clients come back when they go on. */
export const STREAM_STALL_MS: number = 120_000;
/** Part of the isolate's budget with which its streams together may be ahead of their readers; the rest goes to who must go on. */
export const STREAM_AHEAD_PART: number = 3 / 8;
/** Open blocks and the next message; without blocks, more reads than make a stream faster. */
export const STREAM_AHEAD_MAX_BYTES: number = 18 * MIB;
/** Positions of a frozen filter view: 4 bytes each, kept in the isolate. */
export const VIEW_MAX_ITEMS: number = 4_000_000;
/** All views of an isolate, beside its budget. */
export const VIEWS_MAX_BYTES: number = 16 * MIB;
/** Largest body of a request to the datastream service. */
export const SERVICE_BODY_MAX_BYTES: number = 1 * MIB;
/** Globs of one filter, and what one may hold: more would let a caller choose a pattern that is slow to match. */
export const FILTER_MAX_GLOBS: number = 64;
export const GLOB_MAX_CHARS: number = 1_024;
export const GLOB_MAX_STARS_PER_SEGMENT: number = 3;
export const GLOB_MAX_DEEP_STARS: number = 3;

// --- Access -----------------------------------------------------------------
export const TOKEN_TTL_DEFAULT_SECONDS: number = 24 * 3_600;
export const TOKEN_TTL_MAX_SECONDS: number = 30 * 24 * 3_600;
export const TOKEN_TTL_MIN_SECONDS: number = 60;
/** How old a proof of a training node's key may be, and how far its clock may be ahead of ours. */
export const PROOF_LIFETIME_SECONDS: number = 60;
export const PROOF_AHEAD_SECONDS: number = 30;
/** Characters of a proof, and of its id. */
export const PROOF_MAX_CHARS: number = 4_096;
export const PROOF_ID_MAX_CHARS: number = 256;
/** Characters of a training node's name. */
export const NODE_NAME_MAX_CHARS: number = 128;
/** Requests that one caller may make in a window of the platform's rate limiter, which knows windows of 10 s and of 60 s. */
export interface RateLimit {
  readonly requests: number;
  readonly seconds: 10 | 60;
}
/**
 * By class of route: far above what training and uploads need, far below what would hurt others. Our clients' backoff
 * outlasts 10 s. `wrangler.toml` repeats the numbers for the platform; a test compares both.
 */
export const RATE_LIMITS: Readonly<Record<"read" | "write" | "stream" | "sign_in" | "address", RateLimit>> = {
  read: { requests: 2_000, seconds: 10 },
  write: { requests: 1_000, seconds: 10 },
  /** Calls of the datastream service, acknowledgements of every rank included. */
  stream: { requests: 10_000, seconds: 10 },
  /** Of one address: a password is guessed here. */
  sign_in: { requests: 30, seconds: 60 },
  /** Everything from one address, whatever credentials it sends: a cluster may share one. */
  address: { requests: 40_000, seconds: 10 },
};
/** How long the answer to a POST with an idempotency key is kept. */
export const IDEMPOTENCY_TTL_MS: number = 24 * 3_600_000;
/** After so long a POST with an idempotency key that left no answer counts as dead, and a retry runs it again. */
export const IDEMPOTENCY_LEASE_MS: number = 10 * 60_000;
export const IDEMPOTENCY_KEY_MAX_CHARS: number = 255;
/** Rows past their time that one run of maintenance deletes. */
export const PRUNE_MAX_ROWS: number = 50_000;
/** Characters of a password: long enough to hold a slow hash's promise, short enough to hash. */
export const PASSWORD_MIN_CHARS: number = 10;
export const PASSWORD_MAX_CHARS: number = 128;
/** A session ends so long after signing in. */
export const SESSION_TTL_SECONDS: number = 7 * 24 * 3_600;
/** How long the link of a verification mail is good, and how long a user waits for another. */
export const VERIFICATION_TTL_SECONDS: number = 3_600;
export const VERIFICATION_MAIL_SECONDS: number = 300;
/** API keys of one user that are not revoked: one for each machine and purpose, and an end to leaks that add up. */
export const API_KEYS_MAX_PER_USER: number = 100;
/** Characters of a name that people give to a key. */
export const KEY_NAME_MAX_CHARS: number = 128;

// --- Trust ------------------------------------------------------------------
/** A proof of possession answers a challenge of at most this age. */
export const KEY_PROOF_MAX_AGE_SECONDS: number = 300;
/** Unrevoked signing keys of a user. */
export const SIGNING_KEYS_MAX: number = 100;
/** Known keys on one list: a user's, or the deployment's. */
export const KNOWN_KEYS_MAX: number = 1_000;
/** Characters of the payload of a signed statement. */
export const ENVELOPE_MAX_BYTES: number = 16 * KIB;

// --- Companion --------------------------------------------------------------
/** Buffers of a tensor ring: one in use, one ready, two being filled. */
export const SLOTS_DEFAULT: number = 4;
/** Slots of one ring: a batch each, so more would only hold memory. */
export const SLOTS_MAX: number = 64;
/** A slot begins at a page of memory. */
export const SLOT_ALIGNMENT_BYTES: number = 4 * KIB;
/** Slots of device memory: whole allocations of the driver, so that each can be exported by itself. */
export const DEVICE_SLOT_ALIGNMENT_BYTES: number = 2 * MIB;
/** One ring: a mistaken batch size must not take all memory of the machine. */
export const RING_MAX_BYTES: number = 64 * 1024 * MIB;
/** Memory of one stream for messages that were received and not yet released: a message of the largest size, its successor, and more of the usual ones. */
export const RECEIVE_POOL_BYTES: number = 128 * MIB;
/** Messages received ahead of who takes them; beyond it the socket waits. A single one may be larger. */
export const RECEIVE_AHEAD_BYTES: number = 8 * MIB;
/** Sockets are read into one buffer of this size, which stays in the processor's cache, where what comes has no place of its own yet. */
export const RECEIVE_BUFFER_BYTES: number = 256 * KIB;
/** A gateway that sends nothing for so long is taken for dead: longer than it may wait for memory or heal an item. */
export const RECEIVE_IDLE_MS: number = 60_000;
/** Status line, headers and trailers of an answer together, interim ones included. */
export const HTTP_HEAD_MAX_BYTES: number = 64 * KIB;
/** Headers or trailers of one answer. */
export const HTTP_HEADERS_MAX: number = 256;
/** Body of an answer that says what went wrong. */
export const HTTP_PROBLEM_MAX_BYTES: number = 64 * KIB;
/** Batches that a stream keeps ready beside the one in use: the ring holds them. */
export const PREFETCH_MAX_BATCHES: number = SLOTS_MAX - 2;
/** One line from a client of the handoff. */
export const HANDOFF_LINE_MAX_BYTES: number = 1 * MIB;
/** How long a client may take to map a ring and, for a device, to allocate as much there. */
export const HANDOFF_ATTACH_MS: number = 60_000;
/** Bytes that wait for a client which does not read: after that it counts as gone, since batches wait for releases. */
export const HANDOFF_BACKLOG_MAX_BYTES: number = 256 * MIB;
/** Largest decoded image: 33 million pixels of three channels. A thread that processes images holds one. */
export const IMAGE_MAX_BYTES: number = 96 * MIB;
/** Longest side of an image, which is also what a JPEG header can say. */
export const IMAGE_MAX_SIDE: number = 65_535;
export const IMAGE_MAX_CHANNELS: number = 4;
/** Scans of a progressive JPEG; encoders make about ten, and each costs a pass over the whole image. */
export const JPEG_MAX_SCANS: number = 64;
/** Largest header of an npy file. */
export const NPY_HEADER_MAX_BYTES: number = 64 * KIB;
/** Dimensions of a tensor. */
export const TENSOR_MAX_DIMENSIONS: number = 8;
/** Steps of a processing, and the longest side that it may ask for. */
export const PROCESSING_MAX_STEPS: number = 16;
export const PROCESSING_MAX_SIDE: number = 8_192;
/** A decoder that is at one item for so long hangs, and its thread is ended: the largest image takes about a second. */
export const DECODE_ITEM_MS: number = 60_000;
/** Threads that check and decode. */
export const DECODE_THREADS_MAX: number = 256;
/** Kernel memory of such a thread: an image before and after, rows and weights between. Pages that stay unused cost nothing. */
export const DECODE_HEAP_BYTES: number = 2 * IMAGE_MAX_BYTES + 32 * MIB;
/** Streams of one companion: each holds a ring, a pool of messages and a connection. */
export const COMPANION_STREAMS_MAX: number = 256;
/** What a connection to the companion's port begins with, and the head of each request on it, are there after so long. */
export const PORT_HEAD_MS: number = 20_000;
/** The whole of a request to that port; its answer may take as long as it likes. */
export const PORT_REQUEST_MS: number = 60_000;
/** How long a connection of that port may lie idle between two requests: longer than clients usually poll. */
export const PORT_KEEP_ALIVE_MS: number = 65_000;
/** Smallest cache of items: a few segments of the largest item. */
export const CACHE_MIN_BYTES: number = 256 * MIB;
/** A cache is that many files when it is full; one of them is what eviction frees at once. */
export const CACHE_SEGMENTS: number = 64;
/** Files that it may be at most: every process that stores leaves one that is not full. */
export const CACHE_MAX_SEGMENTS: number = 256;
/** The use of a segment is noted on disk at most so often. */
export const CACHE_TOUCH_MS: number = 60_000;
/** A file that was begun so long ago and not finished is what a crash left. */
export const CACHE_LEFTOVER_MS: number = 10 * 60_000;
/** A stream that is served from the cache asks the gateway this often whether its token still holds, and at each epoch's beginning. */
export const ACCESS_CHECK_MS: number = 60_000;
/** How long the beginning of an epoch waits for the answer. */
export const ACCESS_PATIENCE_MS: number = 5_000;
/** So many following batches must be cached to give a running response up for them: another request costs a round trip. */
export const CACHE_RUN_BATCHES: number = 16;

// Where the kernels' own working areas lie: below `--memoryBase` 16384 (scripts/build-kernels.ts),
// as plain addresses, because a `memory.data` of zeros would be stored in the module.
// No area keeps anything from one call to the next.

/** compress4: one message block of each lane, 16 vectors. */
export const MESSAGE4: usize = 64;
/** compress1: a last block, padded with zeros. */
export const PADDED1: usize = 320;
/** tree: a parent's block. */
export const JOINED: usize = 384;
/** state: a right fold's block, and one chaining value. */
export const FOLDED: usize = 448;
export const SINGLE: usize = 512;
/** tree: the four lanes' chaining values, 8 vectors. */
export const LANES: usize = 576;
/** hashMany: four last blocks, padded with zeros. */
export const PADDED4: usize = 704;
/** tree: the state that an input above one group goes through, 2880 bytes. */
export const LARGE: usize = 1024;
/** tree: chaining values of 128 chunks and of three lanes that a short last step discards, 4224 bytes. */
export const LEVEL: usize = 4096;
/** hashMany: 32 states of 128 bytes. */
export const STATES: usize = 8320;

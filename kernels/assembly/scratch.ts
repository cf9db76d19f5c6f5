// Where the kernels' own working areas lie: below `--memoryBase` 16384 (scripts/build-kernels.ts),
// as plain addresses, because a `memory.data` of zeros would be stored in the module.
// No area keeps anything from one call to the next.

/** lanes: the message blocks of eight lanes, two groups of 16 vectors. */
export const MESSAGE: usize = 64;
/** lanes: the chaining values of eight lanes, two groups of 8 vectors. */
export const STATE: usize = 576;
/** lanes: one u32 for each of eight lanes, as the compression takes them. */
export const POINTERS: usize = 832;
export const STRIDES: usize = 864;
export const COUNTERS_LOW: usize = 896;
export const COUNTERS_HIGH: usize = 928;
export const LENGTHS: usize = 960;
export const FLAGS: usize = 992;
/** lanes: one u32 for each job. */
export const JOB_DATA: usize = 1024;
export const JOB_LENGTH: usize = 1056;
export const JOB_BLOCKS: usize = 1088;
export const JOB_FIRST: usize = 1120;
export const JOB_LAST: usize = 1152;
export const JOB_OUT: usize = 1184;
/** lanes: last blocks, padded with zeros. */
export const PADDED: usize = 1216;
/** compress1: the chaining value at hand. */
export const VALUE: usize = 1728;
/** transpose: four chaining values. */
export const VALUES: usize = 1888;
/** state: a right fold's block, and one chaining value. */
export const FOLDED: usize = 1792;
export const SINGLE: usize = 1856;
/** tree: the state that an input above one group goes through, 2880 bytes. */
export const LARGE: usize = 2048;
/** tree, hashMany: chaining values of the 128 chunks of a group. */
export const LEVEL: usize = 5120;
/** hashMany: for each of 128 items the address of its chaining values and how many there are. */
export const TREES: usize = 9216;

// Values from the BLAKE3 specification (https://github.com/BLAKE3-team/BLAKE3-specs), sections 2.1 and 2.2.
export const BLOCK: u32 = 64;
export const CHUNK: u32 = 1024;
export const CV: u32 = 32;

export const CHUNK_START: u32 = 1;
export const CHUNK_END: u32 = 2;
export const PARENT: u32 = 4;
export const ROOT: u32 = 8;

export const IV0: u32 = 0x6a09e667;
export const IV1: u32 = 0xbb67ae85;
export const IV2: u32 = 0x3c6ef372;
export const IV3: u32 = 0xa54ff53a;

/**
 * Prints a new value for the gateway's SIGNING_KEYS secret: a key set with one Ed25519 key.
 *
 *     node scripts/generate-signing-key.ts | npx wrangler secret put SIGNING_KEYS
 */
import { createSigningKeys } from "./stack/state.ts";

console.log(createSigningKeys());

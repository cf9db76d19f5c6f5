/**
 * Reads the gateway's SIGNING_KEYS secret and prints the one that follows it, with a new key that signs in an hour. Keep
 * the secret where you keep passwords: it cannot be read back from the gateway.
 *
 *     node scripts/rotate-signing-key.ts < signing-keys.json > next.json
 */
import { text } from "node:stream/consumers";
import { rotateSigningKeys } from "./stack/state.ts";

console.log(rotateSigningKeys(await text(process.stdin), Date.now()));

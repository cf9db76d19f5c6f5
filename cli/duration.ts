import ms from "ms";
import { invalidArgument } from "../core/errors.ts";

/** Whole seconds of a duration such as `90m`, `24h` or `7d`. @throws `invalid_argument` naming `ttl`. */
export function durationSeconds(duration: string): number {
  const milliseconds = /^\d/.test(duration) ? ms(duration as ms.StringValue) : undefined;
  if (milliseconds === undefined)
    throw invalidArgument("ttl", `${duration} is no duration such as 90m, 24h or 7d.`);
  return Math.round(milliseconds / 1000);
}

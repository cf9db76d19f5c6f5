/** Mail to people. A gateway without it works: administrators vouch for addresses then. */
import { DataStreamError } from "../core/errors.ts";

export interface Mail {
  readonly to: string;
  readonly subject: string;
  /** Plain text. It may hold a secret for its reader. */
  readonly text: string;
}

export interface Mailer {
  /** @throws DataStreamError `unavailable` when the mail was not taken; says nothing of what is in it. */
  send(mail: Mail): Promise<void>;
}

/**
 * Cloudflare's e-mail service (https://developers.cloudflare.com/email-service/).
 * @param from an address of a domain that is set up there.
 */
export function cloudflareMailer(binding: SendEmail, from: string): Mailer {
  return {
    async send({ to, subject, text }) {
      try {
        await binding.send({ from, to, subject, text });
      } catch {
        // What the service says may repeat the mail, and with it the secret: only that it failed is told.
        throw new DataStreamError("unavailable", "The mail could not be sent. Try again later.");
      }
    },
  };
}

/**
 * Signing people in with better-auth: e-mail address and password, sessions in a cookie that no script reads, no
 * other site sends and no plain connection carries. Routes and refusals are ours; the library keeps the rules.
 */
import { betterAuth } from "better-auth/minimal";
import { APIError } from "better-auth/api";
import { findUserRow, type User } from "../../catalog/users.ts";
import { DataStreamError, invalidArgument } from "../../core/errors.ts";
import {
  PASSWORD_MAX_CHARS,
  PASSWORD_MIN_CHARS,
  SESSION_TTL_SECONDS,
  VERIFICATION_TTL_SECONDS,
} from "../../core/limits.ts";
import type { Sql } from "../../core/ports.ts";
import { toHex } from "../../core/bytes.ts";
import { utf8 } from "../../core/text.ts";
import { errorFields, type Log } from "../log.ts";
import type { Mailer } from "../mailer.ts";
import { signInAdapter } from "./adapter.ts";
import { hashPassword, verifyPassword } from "./password.ts";

/** `__Host-`: a browser takes it over TLS (or on the machine itself) for this host alone. */
export const SESSION_COOKIE: string = "__Host-cyxcloud-session";

/** The cookie's value: a secret. */
export function sessionCookie(headers: Headers): string | undefined {
  const name = `${SESSION_COOKIE}=`;
  const found = headers
    .get("cookie")
    ?.split("; ")
    .find((each) => each.startsWith(name));
  return found?.slice(name.length) || undefined;
}

export interface SignInDeps {
  readonly sql: Sql;
  /** Any secret of the deployment: cookies are signed with a key made from it. */
  readonly secret: string;
  readonly signUpIsOpen: boolean;
  /** Where the page of `VERIFICATION_PATH` is. */
  readonly gatewayUrl: string;
  /** Undefined: administrators vouch for addresses. */
  readonly mailer: Mailer | undefined;
  readonly log: Log;
}

/** The page that a verification link leads to. Its secret is in the fragment, which no server and no log ever sees. */
export const VERIFICATION_PATH: string = "/verify-email";

export interface SignedIn {
  /** `Set-Cookie` of the answer. */
  readonly cookies: readonly string[];
}

export interface NewAccount {
  readonly name: string;
  readonly email: string;
  readonly password: string;
}

/** @throws `permission_denied` where administrators create the users; `already_exists` for what is taken. */
export async function signUp(deps: SignInDeps, account: NewAccount): Promise<SignedIn> {
  if (!deps.signUpIsOpen) {
    throw new DataStreamError(
      "permission_denied",
      "An administrator creates the users of this gateway: ask one.",
    );
  }
  const auth = await library(deps);
  return attempt(async () => {
    const { headers } = await auth.api.signUpEmail({ body: account, returnHeaders: true });
    return { cookies: headers.getSetCookie() };
  });
}

/** @throws `unauthenticated` in the same words whichever of both is wrong, and after the same work. */
export async function signIn(
  deps: SignInDeps,
  credentials: { readonly email: string; readonly password: string },
): Promise<SignedIn> {
  const auth = await library(deps);
  return attempt(async () => {
    const { headers } = await auth.api.signInEmail({ body: credentials, returnHeaders: true });
    return { cookies: headers.getSetCookie() };
  });
}

/**
 * Mails a link that verifies an address of a user who has not verified it.
 * @throws `failed_precondition` where the gateway sends no mail; `unavailable` when it could not.
 */
export async function mailVerification(deps: SignInDeps, email: string): Promise<void> {
  if (deps.mailer === undefined) {
    throw new DataStreamError(
      "failed_precondition",
      "This gateway sends no mail: ask an administrator to verify your address.",
    );
  }
  const auth = await library(deps);
  await attempt(() => auth.api.sendVerificationEmail({ body: { email } }));
}

/**
 * Verifies the address of the user who brings its secret. Whoever has the mail alone could be made to verify a
 * stranger's account with their own address: so the user has to be who claimed it.
 * @throws `invalid_argument` for a secret that is not theirs, or not any more.
 */
export async function verifyEmail(deps: SignInDeps, userId: string, token: string): Promise<void> {
  const refused = invalidArgument(
    "token",
    "is not, or no longer, good for your address. Ask for another mail.",
  );
  const auth = await library(deps, (user) => {
    if (user.id !== userId) throw refused;
  });
  try {
    await auth.api.verifyEmail({ query: { token } });
  } catch (error) {
    throw error instanceof APIError ? refused : error;
  }
  // The library is content with a secret for any address that is verified already.
  if ((await findUserRow(deps.sql, userId))?.emailVerified !== true) throw refused;
}

/** Ends the session, if there is one. */
export async function signOut(deps: SignInDeps, headers: Headers): Promise<SignedIn> {
  const auth = await library(deps);
  return attempt(async () => {
    const answer = await auth.api.signOut({ headers, returnHeaders: true });
    return { cookies: answer.headers.getSetCookie() };
  });
}

/** Who is signed in by the request's cookie. */
export async function sessionUser(deps: SignInDeps, headers: Headers): Promise<User | undefined> {
  const auth = await library(deps);
  const session = await attempt(() => auth.api.getSession({ headers, query: { disableRefresh: true } }));
  if (session === null) return undefined;
  const { id, name, role } = session.user as unknown as User;
  return { id, name, role };
}

async function attempt<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    if (error.body?.code?.startsWith("USER_ALREADY_EXISTS") === true) {
      throw new DataStreamError("already_exists", "email: it belongs to another user.", {
        details: { field: "email" },
      });
    }
    if (error.status === "UNAUTHORIZED") {
      throw new DataStreamError("unauthenticated", "The e-mail address or the password is wrong.");
    }
    throw new DataStreamError("internal", "Signing in failed unexpectedly. Try again.", { cause: error });
  }
}

/** @param beforeVerifying throws to refuse that this user's address is verified. */
// oxlint-disable-next-line typescript/explicit-function-return-type -- the library's types describe its interface
async function library(
  { sql, secret, mailer, gatewayUrl, log }: SignInDeps,
  beforeVerifying: (user: { readonly id: string }) => void = () => {},
) {
  return betterAuth({
    database: signInAdapter(sql),
    secret: await cookieSecret(secret),
    baseURL: "https://gateway.invalid", // its own routes are not served
    telemetry: { enabled: false },
    logger: { disabled: true },
    rateLimit: { enabled: false },
    emailAndPassword: {
      enabled: true,
      minPasswordLength: PASSWORD_MIN_CHARS,
      maxPasswordLength: PASSWORD_MAX_CHARS,
      password: { hash: hashPassword, verify: verifyPassword },
    },
    emailVerification: {
      expiresIn: VERIFICATION_TTL_SECONDS,
      beforeEmailVerification: async (user) => beforeVerifying(user),
      ...(mailer && {
        sendOnSignUp: true,
        sendVerificationEmail: async ({ user, token }) => {
          const text = verificationText(`${gatewayUrl}${VERIFICATION_PATH}#${token}`, user.name);
          try {
            await mailer.send({ to: user.email, subject: "Verify your address for CyxCloud", text });
          } catch (error) {
            log.error("verification_mail", errorFields(error)); // signing up goes on without it
            throw error;
          }
        },
      }),
    },
    user: { additionalFields: { role: { type: "string", input: false, defaultValue: "owner" } } },
    session: { expiresIn: SESSION_TTL_SECONDS },
    advanced: {
      database: { generateId: () => crypto.randomUUID() },
      useSecureCookies: false, // the attributes say it; this would only lengthen the name
      cookies: { session_token: { name: SESSION_COOKIE } },
      defaultCookieAttributes: { path: "/", secure: true, httpOnly: true, sameSite: "strict" },
    },
  });
}

function verificationText(link: string, name: string): string {
  return (
    `Somebody, hopefully you, gave this address for the account "${name}" of this gateway. If it is yours, open\n\n` +
    `${link}\n\nwithin an hour and sign in. If not, do nothing.\n`
  );
}

async function cookieSecret(secret: string): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(`session cookies\n${secret}`))));
}

/** Whose an e-mail address is: its user proves it with what was mailed there, or an administrator vouches for it. */
import { createRoute, z } from "@hono/zod-openapi";
import { noteVerificationMail, verifyAddress } from "../../catalog/sign-in.ts";
import { findUserByName, findUserRow, type UserRow } from "../../catalog/users.ts";
import { DataStreamError } from "../../core/errors.ts";
import { VERIFICATION_MAIL_SECONDS, VERIFICATION_TTL_SECONDS } from "../../core/limits.ts";
import type { Sql } from "../../core/ports.ts";
import { tooManyRequests } from "../rate-limits.ts";
import { mailVerification, VERIFICATION_PATH, verifyEmail } from "../sign-in/sessions.ts";
import { type Api, needsAdmin, needsApiKey } from "./app.ts";
import { problems } from "./problem.ts";
import { Email, jsonAnswer, jsonBody } from "./schemas.ts";
import { noSuchUser, UserName } from "./users.ts";
import { VERIFICATION_PAGE, VERIFICATION_SCRIPT } from "./verification-page.ts";

const mailRoute = createRoute({
  method: "post",
  path: "/api/users/me/verification-mail",
  tags: ["sign-in"],
  summary: "Have a link mailed to you that verifies your address",
  description:
    `Signing up sends one by itself. It is good for ${VERIFICATION_TTL_SECONDS / 60} minutes, and the next comes no sooner ` +
    `than ${VERIFICATION_MAIL_SECONDS / 60} minutes after. Where the gateway sends no mail, ask an administrator.`,
  ...needsApiKey,
  responses: { 204: { description: "It is on its way" }, ...problems(401, 409, 429, 503) },
});

const verifyRoute = createRoute({
  method: "post",
  path: "/api/users/me/verify-email",
  tags: ["sign-in"],
  summary: "Verify your address with what was mailed there",
  description: "Shares with this address are yours from then on.",
  ...needsApiKey,
  request: {
    body: jsonBody(
      z
        .strictObject({
          token: z.string().min(1).max(2048).openapi({ description: "What follows # in the link" }),
        })
        .openapi("VerifyEmail"),
    ),
  },
  responses: { 204: { description: "It is verified" }, ...problems(400, 401, 413, 415) },
});

const vouchRoute = createRoute({
  method: "put",
  path: "/api/users/{user}/verified-email",
  tags: ["users"],
  summary: "Vouch for a user's e-mail address",
  description:
    "For administrators. The address that the user chose, or one for a user who has none; whoever claims it unverified " +
    "loses it.",
  ...needsAdmin,
  request: {
    params: z.object({
      user: UserName.openapi({ param: { name: "user", in: "path", description: "Name of the user" } }),
    }),
    body: jsonBody(
      z
        .strictObject({
          email: Email.optional().openapi({ description: "Left out: whichever the user chose" }),
        })
        .openapi("VouchForEmail", { example: { email: "ada@example.com" } }),
    ),
  },
  responses: {
    200: jsonAnswer(
      z.object({ user: UserName, email: z.string() }).openapi("VerifiedEmail"),
      "The address that is theirs",
    ),
    ...problems(400, 401, 403, 404, 409, 413, 415),
  },
});

export function registerEmailAddresses(api: Api): void {
  api.openapi(mailRoute, async (c) => {
    const { sql } = c.var.deps;
    const user = await userRow(sql, c.var.user.id);
    if (user.email === null || user.emailVerified) {
      const lacking = user.email === null ? "You have no address yet: PUT /api/users/me/sign-in." : undefined;
      throw new DataStreamError("failed_precondition", lacking ?? "Your address is verified already.");
    }
    if (c.var.signIn.mailer !== undefined) {
      const email = await noteVerificationMail(sql, user.id, VERIFICATION_MAIL_SECONDS);
      if (email === undefined) throw tooManyRequests(VERIFICATION_MAIL_SECONDS);
    }
    await mailVerification(c.var.signIn, user.email);
    return c.body(null, 204);
  });

  api.openapi(verifyRoute, async (c) => {
    await verifyEmail(c.var.signIn, c.var.user.id, c.req.valid("json").token);
    return c.body(null, 204);
  });

  api.openapi(vouchRoute, async (c) => {
    const { sql } = c.var.deps;
    const { user: name } = c.req.valid("param");
    const user = name === "me" ? await userRow(sql, c.var.user.id) : await findUserByName(sql, name);
    if (user === undefined) throw noSuchUser();
    const email = c.req.valid("json").email ?? user.email;
    if (email === null || !(await verifyAddress(sql, user.id, email))) {
      throw new DataStreamError(
        "failed_precondition",
        email === null
          ? "email: the user has none. Say which one is theirs."
          : "email: the user chose another address.",
        { details: { field: "email" } },
      );
    }
    return c.json({ user: user.name, email }, 200);
  });

  api.get(VERIFICATION_PATH, (c) => c.html(VERIFICATION_PAGE));
  api.get(`${VERIFICATION_PATH}/script.js`, (c) =>
    c.body(VERIFICATION_SCRIPT, 200, { "content-type": "text/javascript; charset=utf-8" }),
  );
}

async function userRow(sql: Sql, id: string): Promise<UserRow> {
  const user = await findUserRow(sql, id);
  if (user === undefined) throw noSuchUser();
  return user;
}

/** Whose an e-mail address is: proven by mail, or vouched for by an administrator. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { GatewayLog } from "../../scripts/stack/gateway.ts";
import { documentedClient, type DocumentedClient, type JsonAnswer } from "../api/documented.ts";
import { addUser } from "../api/users.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const PASSWORD = "correct horse battery";
const LINK = /https:\/\/gateway\.example\/verify-email#(\S+)/;

describe("a gateway that sends mail", () => {
  const logs: GatewayLog[] = [];
  let gateway: TestGateway;
  let api: DocumentedClient;
  beforeAll(async () => {
    gateway = await startGateway({
      entry: join(import.meta.dirname, "post-office.worker.ts"),
      bindings: { SIGN_UP: "open", ISSUER: "https://gateway.example", MAIL_FROM: "no-reply@gateway.example" },
      onLog: (line) => logs.push(line),
    });
    api = await documentedClient(gateway);
  });
  afterAll(() => gateway.stop());

  const mails = async (query = ""): Promise<{ from: string; to: string; subject: string; text: string }[]> =>
    (await (await fetch(new URL(`/post-office${query}`, gateway.url))).json()) as never;

  /** A stranger with a session. */
  async function signUp(
    name: string,
    email: string,
  ): Promise<(method: string, path: string, body?: unknown) => Promise<JsonAnswer>> {
    const answer = await api.json(
      "POST",
      "/api/auth/sign-up",
      { name, email, password: PASSWORD },
      { authorization: "" },
    );
    expect(answer.status).toBe(204);
    const [cookie = ""] = (answer.headers.getSetCookie()[0] ?? "").split(";");
    const { origin } = new URL(gateway.url);
    return async (method, path, body) => {
      const response = await fetch(new URL(path, gateway.url), {
        method,
        headers: { cookie, origin, "content-type": "application/json" },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
    };
  }

  test("mails a link on signing up, whose secret verifies the address of who signed up, and of nobody else", async () => {
    const ada = await signUp("ada", "Ada@Example.com");
    const [mail] = await mails();
    expect(mail).toMatchObject({ from: "no-reply@gateway.example", to: "ada@example.com" });
    const token = LINK.exec(mail?.text ?? "")?.[1] as string;
    const eve = await signUp("eve", "eve@example.com");
    const [evesMail] = await mails();
    const evesToken = LINK.exec(evesMail?.text ?? "")?.[1] as string;

    const verify = "/api/users/me/verify-email";
    for (const [who, wrong] of [
      [eve, token],
      [ada, evesToken],
      [ada, `${token}x`],
      [ada, token.slice(0, -4)],
      [ada, "x"],
    ] as const)
      expect(await who("POST", verify, { token: wrong })).toMatchObject({
        status: 400,
        body: { code: "invalid_argument", field: "token" },
      });
    expect((await ada("GET", "/api/users/me")).body).toMatchObject({
      email: "ada@example.com",
      email_verified: false,
    });
    expect((await ada("POST", verify, { token })).status).toBe(204);
    expect((await ada("GET", "/api/users/me")).body).toMatchObject({ email_verified: true });
    // Somebody else's is none of Eve's, now that it is verified either.
    expect((await eve("POST", verify, { token })).status).toBe(400);
    expect((await ada("POST", "/api/users/me/verification-mail")).body).toMatchObject({
      code: "failed_precondition",
    });

    const line = JSON.stringify(logs);
    for (const secret of [token, evesToken]) expect(line).not.toContain(secret.split(".")[2]);
  });

  test("another address has to be verified anew, and one mail follows another after minutes", async () => {
    const grace = await signUp("grace", "grace@example.com");
    const [first] = await mails();
    const token = LINK.exec(first?.text ?? "")?.[1] as string;
    expect((await grace("POST", "/api/users/me/verify-email", { token })).status).toBe(204);
    const { key } = (await grace("POST", "/api/users/me/api-keys", { name: "k" })).body as { key: string };
    const bearer = { authorization: `Bearer ${key}` };
    const choose = { email: "grace@new.example", password: PASSWORD };
    expect((await api.json("PUT", "/api/users/me/sign-in", choose, bearer)).status).toBe(204);
    const me = await api.json("GET", "/api/users/me", undefined, bearer);
    expect(me.body).toMatchObject({ email: "grace@new.example", email_verified: false });
    expect((await api.json("POST", "/api/users/me/verify-email", { token }, bearer)).status).toBe(400);

    expect((await api.json("POST", "/api/users/me/verification-mail", undefined, bearer)).status).toBe(204);
    const [second] = await mails();
    expect(second?.to).toBe("grace@new.example");
    const again = await api.json("POST", "/api/users/me/verification-mail", undefined, bearer);
    expect([again.status, again.headers.get("retry-after")]).toEqual([429, "300"]);
    const fresh = LINK.exec(second?.text ?? "")?.[1] as string;
    expect((await api.json("POST", "/api/users/me/verify-email", { token: fresh }, bearer)).status).toBe(204);
    // The same password, or another, changes nothing about the address.
    expect((await api.json("PUT", "/api/users/me/sign-in", choose, bearer)).status).toBe(204);
    expect((await api.json("GET", "/api/users/me", undefined, bearer)).body.email_verified).toBe(true);
  });

  test("a mail service that fails stops nobody from signing up, and what it says stays out of the logs", async () => {
    await mails("?broken");
    const linus = await signUp("linus", "linus@example.com");
    expect((await linus("POST", "/api/users/me/verification-mail")).body).toMatchObject({
      code: "unavailable",
    });
    await mails();
    const text = logs.map(({ message }) => message).join("\n");
    expect(text).toContain("verification_mail");
    expect(text).not.toContain("refused:");
    expect(text).not.toContain("verify-email#");
  });

  test("the page takes the secret from the fragment and runs its own script alone", async () => {
    const page = await fetch(new URL("/verify-email", gateway.url));
    expect(page.headers.get("content-security-policy")).toBe(
      "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'self'; connect-src 'self'",
    );
    expect(await page.text()).toContain('<script src="/verify-email/script.js" defer>');
    const script = await fetch(new URL("/verify-email/script.js", gateway.url));
    expect(script.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect(await script.text()).toContain("location.hash");
  });
});

describe("a gateway without mail", () => {
  let gateway: TestGateway;
  let api: DocumentedClient;
  beforeAll(async () => {
    gateway = await startGateway({ bindings: { SIGN_UP: "open" } });
    api = await documentedClient(gateway);
  });
  afterAll(() => gateway.stop());

  const vouch = (name: string, body: unknown, headers = {}): Promise<JsonAnswer> =>
    api.json("PUT", `/api/users/${name}/verified-email`, body, headers);
  const bearer = (apiKey: string): Record<string, string> => ({ authorization: `Bearer ${apiKey}` });

  test("says so", async () => {
    const choose = { email: "owner@example.com", password: PASSWORD };
    expect((await api.json("POST", "/api/users/me/verification-mail")).body).toMatchObject({
      code: "failed_precondition",
    });
    expect((await api.json("PUT", "/api/users/me/sign-in", choose)).status).toBe(204);
    const answer = await api.json("POST", "/api/users/me/verification-mail");
    expect(answer).toMatchObject({ status: 409, body: { detail: expect.stringContaining("administrator") } });
    // The first administrator vouches for themselves.
    expect(await vouch("owner", {})).toMatchObject({
      status: 200,
      body: { user: "owner", email: choose.email },
    });
  });

  test("has administrators vouch for addresses: one that was chosen, or one for who has none", async () => {
    const bob = await addUser(gateway, "bob");
    expect(await vouch("bob", {})).toMatchObject({ status: 409, body: { field: "email" } });
    expect(await vouch("bob", { email: "Bob@Example.com" })).toMatchObject({
      status: 200,
      body: { email: "bob@example.com" },
    });
    expect(await vouch("bob", { email: "robert@example.com" })).toMatchObject({ status: 409 });
    expect((await api.json("GET", "/api/users/me", undefined, bearer(bob.apiKey))).body).toMatchObject({
      email: "bob@example.com",
      email_verified: true,
    });
    expect(await vouch("nobody", {})).toMatchObject({ status: 404 });
    expect(await vouch("bob", { email: "none" })).toMatchObject({ status: 400, body: { field: "email" } });
    expect(await vouch("bob", {}, bearer(bob.apiKey))).toMatchObject({ status: 403 });
    const carol = await addUser(gateway, "carol");
    expect(await vouch("carol", { email: "bob@example.com" })).toMatchObject({
      status: 409,
      body: { code: "already_exists" },
    });
    expect((await api.json("GET", "/api/users/me", undefined, bearer(carol.apiKey))).body).toMatchObject({
      email: null,
      email_verified: false,
    });
  });

  test("takes an address from who claims it without proof when it is vouched for as another's", async () => {
    const squatter = { name: "squatter", email: "dave@example.com", password: PASSWORD };
    expect((await api.json("POST", "/api/auth/sign-up", squatter, { authorization: "" })).status).toBe(204);
    await addUser(gateway, "dave");
    expect(await vouch("dave", { email: "dave@example.com" })).toMatchObject({ status: 200 });
    const answer = await api.json("POST", "/api/auth/sign-in", { email: squatter.email, password: PASSWORD });
    expect(answer.status).toBe(401);
  });
});

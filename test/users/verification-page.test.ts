/** The page that a verification mail links to, in a real browser: who is signed in there verifies their own address. */
import { join } from "node:path";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { findUserRow } from "../../catalog/users.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { requireTool } from "../support/tools.ts";

const CHROMIUM = requireTool("chromium");
const PASSWORD = "correct horse battery";

let gateway: TestGateway;
let browser: Browser;
beforeAll(async () => {
  if (CHROMIUM === undefined) return;
  gateway = await startGateway({
    entry: join(import.meta.dirname, "post-office.worker.ts"),
    bindings: { SIGN_UP: "open", MAIL_FROM: "no-reply@gateway.example" },
  });
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
});
afterAll(async () => {
  await browser?.close();
  await gateway?.stop();
});

/** @returns the secret that was mailed. */
async function signUp(name: string): Promise<{ readonly token: string; isVerified(): Promise<boolean> }> {
  const answer = await fetch(new URL("/api/auth/sign-up", gateway.url), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name, email: `${name}@example.com`, password: PASSWORD }),
  });
  expect(answer.status).toBe(204);
  const [mail] = (await (await fetch(new URL("/post-office", gateway.url))).json()) as [{ text: string }];
  const { sql } = gateway.database;
  return {
    token: /#(\S+)/.exec(mail.text)?.[1] as string,
    async isVerified() {
      const [row] = await sql.query({ text: "SELECT id FROM users WHERE name = $1", values: [name] });
      return (await findUserRow(sql, row?.["id"] as string))?.emailVerified === true;
    },
  };
}

test.skipIf(CHROMIUM === undefined)(
  "signs in, verifies, and keeps the secret out of every address (needs chromium)",
  async () => {
    const [ada, eve] = [await signUp("ada"), await signUp("eve")];
    const tab = await (await browser.newContext()).newPage();
    const asked: string[] = [];
    tab.on("request", (request) => asked.push(request.url(), request.headers()["referer"] ?? ""));
    const refused: string[] = [];
    tab.on("console", (message) => refused.push(message.text()));
    const open = async (token: string, email: string, password: string): Promise<void> => {
      await tab.goto("about:blank");
      await tab.goto(`${gateway.url}/verify-email#${token}`);
      await tab.getByLabel("E-mail address").fill(email);
      await tab.getByLabel("Password").fill(password);
      await tab.getByRole("button").click();
    };

    await open(ada.token, "ada@example.com", "not the password");
    await tab.getByText("The e-mail address or the password is wrong.").waitFor();
    // Whoever is tricked into opening the link that a stranger's account had sent verifies nothing for them.
    await open(ada.token, "eve@example.com", PASSWORD);
    await tab.getByText("good for your address").waitFor();
    expect([await ada.isVerified(), await eve.isVerified()]).toEqual([false, false]);
    await open(ada.token, "ada@example.com", PASSWORD);
    await tab.getByText("Your address is verified.").waitFor();
    expect([await ada.isVerified(), await eve.isVerified()]).toEqual([true, false]);

    expect(tab.url()).toBe(`${gateway.url}/verify-email`);
    const requests = asked.filter((url) => !url.includes("#"));
    for (const url of requests) expect(url).not.toContain(ada.token.split(".")[2]);
    expect(refused.filter((text) => text.includes("Content Security Policy"))).toEqual([]);
  },
);

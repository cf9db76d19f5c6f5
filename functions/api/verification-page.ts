/**
 * The page that a verification mail links to. The secret is in the link's fragment, which browsers send to nobody; the
 * script takes it from there, has the user sign in, and sends it in the body of a request.
 */
import { html } from "hono/html";
import { VERIFICATION_PATH } from "../sign-in/sessions.ts";

export const VERIFICATION_PAGE: ReturnType<typeof html> = html`<!doctype html>
  <html lang="en">
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width" />
      <meta name="referrer" content="no-referrer" />
      <title>Verify your address</title>
      <link rel="stylesheet" href="/docs/style.css" />
      <script src="${VERIFICATION_PATH}/script.js" defer></script>
    </head>
    <body>
      <h1>Verify your address</h1>
      <form>
        <p>
          <label
            >E-mail address<br /><input name="email" type="email" autocomplete="username" required
          /></label>
        </p>
        <p>
          <label
            >Password<br /><input name="password" type="password" autocomplete="current-password" required
          /></label>
        </p>
        <p><button>Sign in and verify</button></p>
        <p role="status">Only if you chose the account that the mail names.</p>
      </form>
    </body>
  </html>`;

export const VERIFICATION_SCRIPT: string = `
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
const form = document.querySelector("form");
const status = document.querySelector("[role=status]");
const send = async (path, body) => {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error((await answer.json()).detail);
};
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { email, password } = Object.fromEntries(new FormData(form));
  try {
    await send("/api/auth/sign-in", { email, password });
    await send("/api/users/me/verify-email", { token });
    form.replaceChildren("Your address is verified. Datasets that were shared with it are yours to use.");
  } catch (error) {
    status.textContent = error.message;
  }
});
`;

/** A gateway whose every log line is kept: what it takes back, and what it leaves behind. */
import { randomUUID } from "node:crypto";
import { afterAll, expect, test } from "vitest";
import { ACCEPTED, refusedAs } from "./send.ts";
import { ask, SURFACES, type Surface } from "./surfaces.ts";
import { base64url, created, createWorld, freshKey, issued, newNode } from "./world.ts";

const logs: string[] = [];
const world = await createWorld({ onLog: ({ message }) => logs.push(message) });
const secrets = new Map<string, string>();
afterAll(() => world.gateway.stop());

test("after a revocation is acknowledged, none of 1,000 requests passes", async () => {
  const { id, token } = await issued(world);
  const info = SURFACES[0] as Surface;
  expect(await ask(world, info, { token })).toEqual(ACCEPTED);
  const { status } = await world.gateway.request(`/api/tokens/${id}`, { method: "DELETE" });
  expect(status).toBe(204);
  let refused = 0;
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      for (let i = 0; i < 50; i++) {
        const surface = SURFACES[i % SURFACES.length] as Surface;
        expect(await ask(world, surface, { token })).toEqual(refusedAs("unauthenticated"));
        refused++;
      }
    }),
  );
  expect(refused).toBe(1_000);
});

test("no secret that was used is in a log line or in the database", async () => {
  const { gateway, ada } = world;
  const password = `pass-${randomUUID()}`;
  const email = "ada@example.com";
  const json = { "content-type": "application/json", origin: new URL(gateway.url).origin };
  const set = await gateway.request("/api/users/me/sign-in", {
    method: "PUT",
    headers: json,
    body: JSON.stringify({ email, password }),
  });
  expect(set.ok).toBe(true);
  const signIn = await fetch(new URL("/api/auth/sign-in", gateway.url), {
    method: "POST",
    headers: json,
    body: JSON.stringify({ email, password }),
  });
  const cookie = signIn.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  const session = decodeURIComponent(cookie.slice(cookie.indexOf("=") + 1));
  expect(session).toMatch(/^.{20,}\..{20,}$/);
  expect((await fetch(new URL("/api/users/me", gateway.url), { headers: { cookie } })).status).toBe(200);

  const node = await newNode(world);
  const bound = await issued(world, { node: node.name });
  for (const surface of SURFACES)
    expect(await ask(world, surface, { token: bound.token, key: node.key })).toEqual(ACCEPTED);
  const body = { scopes: ["read"] };
  const once = { "idempotency-key": randomUUID() };
  const repeated = await created(world, "POST", `/api/datasets/${world.v2}/tokens`, body, once);
  const { api_key } = await created(world, "POST", "/api/users", { name: "newcomer" });
  const signing = freshKey();
  await ada.client.keys.register("used", signing);
  // Also what is refused must not be kept.
  const guess = `guess-${randomUUID()}`;
  await fetch(new URL("/api/auth/sign-in", gateway.url), {
    method: "POST",
    headers: json,
    body: JSON.stringify({ email, password: guess }),
  });
  expect(await ask(world, SURFACES[0] as Surface, { token: guess })).toEqual(refusedAs("unauthenticated"));

  for (const person of [ada, world.eve, world.carol, world.bob, world.dora])
    secrets.set(`API key of ${person.userId}`, person.apiKey);
  secrets.set("new API key", String(api_key));
  secrets.set("repeated token", String(repeated["token"]));
  secrets.set("bound token", bound.token);
  secrets.set("signature of the bound token", bound.token.split(".")[2] as string);
  secrets.set("session", session);
  secrets.set("session token", session.split(".")[0] as string);
  secrets.set("password", password);
  secrets.set("refused password and token", guess);
  for (const [name, { d }] of Object.entries(world.signingKeys)) secrets.set(`signing key ${name}`, d);
  for (const [name, { seed }] of Object.entries({ node: node.key, signing })) {
    secrets.set(`private key of the ${name}`, base64url(seed));
    secrets.set(`private key of the ${name}, hexadecimal`, Buffer.from(seed).toString("hex"));
  }

  const logged = logs.join("\n");
  expect(logged).toContain('"request"');
  const dump = await dumped();
  // The search finds what is there, in either form.
  expect(dump).toContain(email);
  expect(dump).toContain(Buffer.from(node.key.publicKey).toString("hex"));
  for (const [name, secret] of secrets) {
    const forms = [
      secret,
      Buffer.from(secret).toString("hex"),
      Buffer.from(secret, "base64url").toString("hex"),
    ];
    for (const form of forms.filter(({ length }) => length >= 20))
      expect([name, logged.includes(form), dump.includes(form)]).toEqual([name, false, false]);
  }
});

/** Every row of every table as text; bytes in hexadecimal. */
async function dumped(): Promise<string> {
  const { sql } = world.gateway.database;
  const tables = await sql.query({
    text: "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
    values: [],
  });
  const texts: string[] = [];
  for (const { tablename } of tables) {
    const rows = await sql.query({ text: `SELECT t::text AS row FROM "${String(tablename)}" t`, values: [] });
    for (const { row } of rows) texts.push(String(row));
  }
  return texts.join("\n");
}

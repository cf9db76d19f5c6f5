/** Altered API keys and session cookies. */
import { createHash, randomBytes } from "node:crypto";
import { type AttackClass, varied } from "./classes.ts";
import type { Answer } from "./send.ts";
import type { World } from "./world.ts";

export async function credentialClasses(world: World): Promise<AttackClass[]> {
  return [apiKeys(world), await cookies(world)];
}

function apiKeys(world: World): AttackClass {
  const { apiKey } = world.ada;
  const ask = (authorization: string | undefined): Promise<Answer> =>
    world.send({
      method: "GET",
      path: "/api/users/me",
      headers: authorization === undefined ? {} : { authorization },
    });
  const at = (place: number): string =>
    `${apiKey.slice(0, place)}${apiKey[place] === "A" ? "B" : "A"}${apiKey.slice(place + 1)}`;
  return {
    name: "altered API key",
    code: "unauthenticated",
    sound: () => ask(`Bearer ${apiKey}`),
    attacks: varied<string | undefined>(
      {
        none: undefined,
        empty: "Bearer ",
        "first character": `Bearer ${at(4)}`,
        "middle character": `Bearer ${at(20)}`,
        "last character": `Bearer ${at(46)}`,
        "one character less": `Bearer ${apiKey.slice(0, -1)}`,
        "one character more": `Bearer ${apiKey}A`,
        "no prefix": `Bearer ${apiKey.slice(4)}`,
        "lower case": `Bearer ${apiKey.toLowerCase()}`,
        "upper case": `Bearer ${apiKey.toUpperCase()}`,
        random: `Bearer cyx_${randomBytes(32).toString("base64url")}`,
        "its hash": `Bearer ${createHash("sha256").update(apiKey).digest("hex")}`,
        "another scheme": `Basic ${Buffer.from(`owner:${apiKey}`).toString("base64")}`,
        "as DPoP": `DPoP ${apiKey}`,
        "no scheme": apiKey,
        "the user's id": `Bearer ${world.ada.userId}`,
        wildcard: "Bearer cyx_%",
        twice: `Bearer ${apiKey}, Bearer ${apiKey}`,
      },
      ask,
    ),
  };
}

async function cookies(world: World): Promise<AttackClass> {
  const credentials = { email: "ada@example.com", password: "correct horse battery" };
  const set = await world.gateway.request("/api/users/me/sign-in", {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(credentials),
  });
  if (!set.ok) throw new Error(await set.text());
  const signIn = async (): Promise<string> => {
    const { origin } = new URL(world.gateway.url);
    const answer = await fetch(new URL("/api/auth/sign-in", world.gateway.url), {
      method: "POST",
      headers: { "content-type": "application/json", origin },
      body: JSON.stringify(credentials),
    });
    return answer.headers.getSetCookie()[0]?.split(";")[0] ?? "";
  };
  const ask = (cookie: string): Promise<Answer> =>
    world.send({ method: "GET", path: "/api/users/me", headers: { cookie } });
  const cookie = await signIn();
  const over = await signIn();
  await fetch(new URL("/api/auth/sign-out", world.gateway.url), {
    method: "POST",
    headers: { cookie: over, origin: new URL(world.gateway.url).origin },
  });
  const [name, value] = [
    cookie.slice(0, cookie.indexOf("=")),
    cookie.slice(cookie.indexOf("=") + 1),
  ] as const;
  const [token = "", signature = ""] = decodeURIComponent(value).split(".");
  const changed = (text: string, place: number): string =>
    `${text.slice(0, place)}${text[place] === "a" ? "b" : "a"}${text.slice(place + 1)}`;
  const make = (value_: string, name_ = name): string => `${name_}=${encodeURIComponent(value_)}`;
  return {
    name: "altered session cookie",
    code: "unauthenticated",
    sound: () => ask(cookie),
    attacks: varied<string>(
      {
        empty: `${name}=`,
        "of another name": make(`${token}.${signature}`, "session"),
        "without the prefix of its name": make(`${token}.${signature}`, name.replace("__Host-", "")),
        "without signature": make(token),
        "with an empty signature": make(`${token}.`),
        "first character of the token": make(`${changed(token, 0)}.${signature}`),
        "last character of the token": make(`${changed(token, token.length - 1)}.${signature}`),
        "first character of the signature": make(`${token}.${changed(signature, 0)}`),
        "middle of the signature": make(`${token}.${changed(signature, 20)}`),
        "signature of another session": make(`${token}.${decodeURIComponent(over).split(".")[1]}`),
        "of a session that is over": over,
        "the user's id": make(world.ada.userId),
        "the API key": make(world.ada.apiKey),
        "signature alone": make(signature),
      },
      ask,
    ),
  };
}

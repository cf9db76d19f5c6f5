/** No answer tells a stranger whether something exists: over every operation that the gateway describes. */
import { randomUUID } from "node:crypto";
import { afterAll, expect, test } from "vitest";
import { DataStreamService } from "../../proto/index.ts";
import { NOTHING_TO_HIDE, probesOf } from "./oracle-probes.ts";
import { soundEnvelopes } from "./reach-classes.ts";
import { ACCEPTED, exchange } from "./send.ts";
import { ask, SURFACES, withToken } from "./surfaces.ts";
import { as, createWorld, issued } from "./world.ts";

const world = await createWorld();
const probes = probesOf(world, await soundEnvelopes(world));
afterAll(() => world.gateway.stop());

/** All that an answer says, but for what differs between any two, and for the name that was asked for. */
async function said(response: Response, name: string): Promise<unknown> {
  const varies = new Set(["date", "x-request-id", "content-length"]);
  const headers = [...response.headers].filter(([header]) => !varies.has(header));
  const text = (await response.text()).replaceAll(/"(?:request_id|created_at)":"[^"]*"/g, "");
  const body = name.split("/").reduce((rest, part) => rest.replaceAll(part, "NAME"), text);
  return { status: response.status, headers, body };
}

test("every operation has a probe, or nothing to hide", async () => {
  const { paths } = (await (await world.gateway.request("/openapi.json")).json()) as {
    paths: Record<string, Record<string, unknown>>;
  };
  const operations = [
    ...Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    ),
    ...DataStreamService.methods.map(({ name }) => name),
  ];
  const covered = [
    ...new Set(Object.keys(probes).map((name) => name.split(",")[0] as string)),
    ...Object.values(NOTHING_TO_HIDE).flat(),
  ];
  expect(covered.toSorted()).toEqual(operations.toSorted());
});

test.each(Object.entries(probes))("a stranger cannot tell a hidden thing from none: %s", async (_, probe) => {
  const { hidden, absent = randomUUID(), request, stranger = world.bob } = probe;
  const there = await hidden();
  const askAs = async (who: { readonly apiKey: string }, name: string): Promise<unknown> =>
    said(await exchange(world.gateway.url, { ...request(name), headers: as(who) }), name);
  expect(await askAs(stranger, there)).toEqual(await askAs(stranger, absent));
  // To its owner they differ.
  expect(await askAs(world.ada, there)).not.toEqual(await askAs(world.ada, absent));
});

test("the holder of a token cannot tell another dataset from none", async () => {
  const { token } = await issued(world);
  const missing = randomUUID();
  for (const surface of SURFACES) {
    const answers = [];
    for (const reference of [world.other, missing]) {
      const request = await withToken(world, surface, { token }, reference);
      answers.push(await said(await exchange(world.gateway.url, request), reference));
    }
    expect([surface.name, answers[0]]).toEqual([surface.name, answers[1]]);
    expect([surface.name, await ask(world, surface, { token })]).toEqual([surface.name, ACCEPTED]);
  }
});

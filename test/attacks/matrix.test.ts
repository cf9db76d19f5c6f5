/** Forged and misused requests. Each stands beside its unmutated twin, which must be accepted: else a refusal proves nothing. */
import { createHash } from "node:crypto";
import { afterAll, describe, expect, test } from "vitest";
import { ACCEPTED, refusedAs } from "./send.ts";
import { credentialClasses } from "./credential-classes.ts";
import { documentClasses } from "./document-classes.ts";
import { holderClasses } from "./holder-classes.ts";
import { proofClasses } from "./proof-classes.ts";
import { reachClasses } from "./reach-classes.ts";
import { COLLISION, registryClasses } from "./registry-classes.ts";
import { statementClasses } from "./statement-classes.ts";
import { tokenClasses } from "./token-classes.ts";
import { report } from "./report.ts";
import { createWorld } from "./world.ts";

const world = await createWorld();
const classes = [
  ...tokenClasses(world),
  ...(await holderClasses(world)),
  ...(await proofClasses(world)),
  ...(await statementClasses(world)),
  ...(await reachClasses(world)),
  ...(await credentialClasses(world)),
  ...(await documentClasses(world)),
  ...(await registryClasses(world)),
];
const table = new Map(classes.map(({ name }) => [name, { tried: 0, accepted: 0 }]));
afterAll(async () => {
  report(table);
  await world.gateway.stop();
});

test("the two blocks of the registry's forgery have one MD5 and nothing else in common", () => {
  const [md5, sha256] = (["md5", "sha256"] as const).map(
    (name) => new Set(COLLISION.map((block) => createHash(name).update(block).digest("hex"))).size,
  );
  expect([md5, sha256]).toEqual([1, 2]);
});

describe.each(classes.map((each) => [each.name, each] as const))("%s", (name, { sound, code, attacks }) => {
  test.each(attacks.map((each) => [each.what, each] as const))("%s", async (_what, attack) => {
    const twin = attack.sound ?? sound;
    if (twin === undefined) throw new Error("The attack has no honest twin.");
    expect(await twin()).toEqual(ACCEPTED);
    const answer = await attack.attempt();
    const row = table.get(name) as { tried: number; accepted: number };
    row.tried++;
    if (answer.accepted) row.accepted++;
    expect(answer).toEqual(refusedAs(attack.code ?? code));
  });
});

test("the matrix is as large as it says", () => {
  expect(classes.length).toBeGreaterThanOrEqual(20);
  for (const { name, attacks } of classes)
    expect([name, attacks.length >= 10, new Set(attacks.map(({ what }) => what)).size]).toEqual([
      name,
      true,
      attacks.length,
    ]);
  expect(classes.flatMap(({ attacks }) => attacks).length).toBeGreaterThanOrEqual(200);
});

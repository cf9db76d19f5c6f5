/** Sound tokens in the wrong place, and tokens whose ground is gone: on everything that a token opens. */
import { randomUUID } from "node:crypto";
import type { Attack, AttackClass } from "./classes.ts";
import type { Answer } from "./send.ts";
import { ask, SURFACES, type Holding, type Surface } from "./surfaces.ts";
import { createProof } from "../../client/proof.ts";
import { person, type Person } from "../trust/fixture.ts";
import { as, idOf, issued, newNode, type World } from "./world.ts";

/** What does not belong to the user who ran the stream. */
const ANYBODYS = SURFACES.filter(({ name }) => !/receipt|Receipt|Ack/.test(name));

export async function holderClasses(world: World): Promise<AttackClass[]> {
  const { token } = await issued(world);
  const [mine, theirs, gone] = [await newNode(world), await newNode(world), await newNode(world)];
  const bound = { token: (await issued(world, { node: mine.name })).token, key: mine.key };
  const orphan = { token: (await issued(world, { node: gone.name })).token, key: gone.key };
  await world.gateway.request(`/api/training-nodes/${gone.id}`, { method: "DELETE" });
  const revoked = await issued(world);
  await world.gateway.request(`/api/tokens/${revoked.id}`, { method: "DELETE" });

  const everywhere = (
    misuse: (surface: Surface) => Promise<Answer>,
    honest: (surface: Surface) => Promise<Answer>,
  ): Attack[] =>
    SURFACES.map((surface) => ({
      what: surface.name,
      attempt: () => misuse(surface),
      sound: () => honest(surface),
    }));
  const use = (holding: Holding, reference?: string) => (surface: Surface) =>
    ask(world, surface, holding, reference);
  const instead = (name: string, code: string, misuse: Holding, honest: Holding): AttackClass => ({
    name,
    code,
    attacks: everywhere(use(misuse), use(honest)),
  });
  const elsewhere = (name: string, reference: string): AttackClass => ({
    name,
    code: "permission_denied",
    attacks: everywhere(use({ token }, reference), use({ token })),
  });
  const twice = async (surface: Surface): Promise<Answer> => {
    let proof: string | undefined;
    const holding: Holding = {
      token: bound.token,
      proof: async (request, url) =>
        (proof ??= await createProof(mine.key, { method: request.method, url, credential: bound.token })),
    };
    const first = await ask(world, surface, holding);
    if (!first.accepted) throw new Error(`The proof did not work at first: ${first.code}.`);
    return ask(world, surface, holding);
  };

  return [
    elsewhere("token for another dataset", world.other),
    elsewhere("token for another version", world.v1),
    elsewhere("token for a version that is not there", randomUUID()),
    instead("revoked token", "unauthenticated", revoked, { token }),
    instead("token of a revoked node", "unauthenticated", orphan, bound),
    instead("bound token, key of another node", "unauthenticated", { ...bound, key: theirs.key }, bound),
    instead("bound token, stolen without its key", "unauthenticated", { token: bound.token }, bound),
    {
      name: "wrong scheme",
      code: "unauthenticated",
      attacks: SURFACES.filter(({ inMessage }) => !inMessage).flatMap((surface) => [
        {
          what: `bound token as Bearer with its proof, ${surface.name}`,
          attempt: () => ask(world, surface, { ...bound, scheme: "Bearer" }),
          sound: () => ask(world, surface, bound),
        },
        {
          what: `unbound token with a proof, ${surface.name}`,
          attempt: () => ask(world, surface, { token, key: mine.key }),
          sound: () => ask(world, surface, { token }),
        },
      ]),
    },
    { name: "proof that was used", code: "unauthenticated", attacks: everywhere(twice, use(bound)) },
    { name: "token of a lost share", code: "unauthenticated", attacks: lostShares(world) },
  ];
}

type Ending = (shareId: string, user: Person) => Promise<unknown>;

/** Each with a user of its own, who streams what the share opens. */
function lostShares(world: World): Attack[] {
  const share = (user: string, permissions: readonly string[]): Promise<string> =>
    idOf(world, "POST", `/api/datasets/${world.v2}/shares`, { user, permissions });
  const useAfter = async (surface: Surface, end?: Ending): Promise<Answer> => {
    const user = await person(world.gateway, `u-${randomUUID()}`);
    const shareId = await share(user.userId, ["read", "stream"]);
    const { token } = await issued(world, {}, world.v2, user);
    await end?.(shareId, user);
    return ask(world, surface, { token });
  };
  const attack = (what: string, surface: Surface, end: Ending, code = "unauthenticated"): Attack => ({
    what: `${what}, ${surface.name}`,
    sound: () => useAfter(surface),
    attempt: () => useAfter(surface, end),
    code,
  });
  const remove = (shareId: string, by: Person): Promise<Response> =>
    world.gateway.request(`/api/shares/${shareId}`, { method: "DELETE", headers: as(by) });
  const expire: Ending = (id) =>
    world.gateway.database.sql.query({
      text: "UPDATE dataset_shares SET expires_at = now() - interval '1 second' WHERE id = $1",
      values: [id],
    });
  return ANYBODYS.flatMap((surface) => [
    attack("taken back", surface, (id) => remove(id, world.ada)),
    attack("given up", surface, remove),
    attack("made smaller", surface, (_, user) => share(user.userId, ["stream"])),
    attack("expired", surface, expire, "permission_denied"),
  ]);
}

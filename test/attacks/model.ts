/**
 * Who may do what with one dataset version, in plain words and without any of the product's code: the reference for
 * histories of grants, tokens, keys and revocations. User 0 owns the version. Times are minutes.
 */
export type Permission = "read" | "stream" | "reshare";

export interface Share {
  readonly id: string;
  readonly to: number;
  /** The owner first, who gave it last. */
  readonly granters: readonly number[];
  readonly parent: string | null;
  permissions: readonly Permission[];
  /** Infinity: until it is withdrawn. */
  until: number;
}

interface Token {
  readonly by: number;
  readonly share: string | null;
  readonly node: number | undefined;
  readonly until: number;
  revoked: boolean;
}

export class Model {
  now = 0;
  shares: Share[] = [];
  readonly tokens: Token[] = [];
  readonly keys: { readonly of: number; revoked: boolean; signed: boolean; knownTo: Set<number | null> }[] =
    [];
  readonly nodes: { readonly of: number; revoked: boolean }[] = [];

  /** What the user holds now, the longest first; equal ones by id. */
  #heldBy(user: number, asked: readonly Permission[]): Share[] {
    return this.shares
      .filter((each) => each.to === user && each.until > this.now && includes(each.permissions, asked))
      .toSorted((a, b) => (a.until === b.until ? (a.id < b.id ? -1 : 1) : a.until > b.until ? -1 : 1));
  }

  /** Where a share would hang, or undefined when it may not be given. */
  source(
    from: number,
    to: number,
    asked: readonly Permission[],
    until: number | undefined,
  ): Pick<Share, "parent" | "granters" | "until"> | undefined {
    if (from === to) return undefined;
    if (from === 0) return { parent: null, granters: [0], until: Infinity };
    const held = this.#heldBy(from, [...asked, "reshare"]).find(
      ({ granters, until: limit }) =>
        granters.length < 8 && !granters.includes(to) && (until === undefined || until <= limit),
    );
    return held && { parent: held.id, granters: [...held.granters, from], until: held.until };
  }

  /** @param id of the share that came of it. */
  share(from: number, to: number, asked: readonly Permission[], until: number | undefined, id: string): void {
    const source = this.source(from, to, asked, until);
    if (source === undefined) throw new Error("It may not be given.");
    const old = this.shares.find((each) => each.to === to && each.granters.at(-1) === from);
    const end = until ?? source.until;
    if (old !== undefined) {
      const loses = old.parent !== source.parent || !includes(asked, old.permissions) || old.until > end;
      if (!loses) {
        old.permissions = asked;
        old.until = end;
        return;
      }
      this.#end(old.id);
    }
    const { parent, granters } = source;
    this.shares.push({ id, to, granters, parent, permissions: asked, until: end });
  }

  /** Whether it ended. */
  unshare(by: number, id: string): boolean {
    const share = this.shares.find((each) => each.id === id);
    if (share === undefined || (share.to !== by && !share.granters.includes(by))) return false;
    this.#end(id);
    return true;
  }

  #end(id: string): void {
    for (const below of this.shares.filter(({ parent }) => parent === id)) this.#end(below.id);
    this.shares = this.shares.filter((each) => each.id !== id);
    for (const token of this.tokens) if (token.share === id) token.revoked = true;
  }

  /** Whether it was issued. */
  token(by: number, scopes: readonly Permission[], node: number | undefined, until: number): boolean {
    const share = by === 0 ? null : this.#heldBy(by, scopes)[0]?.id;
    if (share === undefined) return false;
    this.tokens.push({ by, share, node, until, revoked: false });
    return true;
  }

  /** Whether it may be revoked by this user. */
  revokeToken(by: number, index: number): boolean {
    const token = this.tokens[index] as Token;
    if (by !== 0 && by !== token.by) return false;
    token.revoked = true;
    return true;
  }

  sign(by: number, index: number): boolean {
    const key = this.keys[index];
    if (key === undefined || key.of !== by || key.revoked) return false;
    key.signed = true;
    return true;
  }

  permissions(user: number): Permission[] {
    return [...new Set(this.#heldBy(user, []).flatMap(({ permissions }) => permissions))].toSorted();
  }

  holds(index: number): boolean {
    const { by, share, node, until, revoked } = this.tokens[index] as Token;
    const isGrounded = by === 0 || this.shares.some((each) => each.id === share && each.until > this.now);
    const nodeIsGood = node === undefined || this.nodes[node]?.revoked === false;
    return !revoked && until > this.now && isGrounded && nodeIsGood;
  }

  trust(user: number): number {
    const isSigned = this.keys.some(
      ({ revoked, signed, knownTo }) => signed && !revoked && (knownTo.has(null) || knownTo.has(user)),
    );
    return user === 0 ? 0 : isSigned ? 1 : 4;
  }
}

function includes(all: readonly Permission[], some: readonly Permission[]): boolean {
  return some.every((each) => all.includes(each));
}

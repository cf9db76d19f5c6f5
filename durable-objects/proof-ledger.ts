/** The Durable Object that remembers which proofs of one training node's key were used. */
import { DurableObject } from "cloudflare:workers";

const TABLE = `CREATE TABLE IF NOT EXISTS proofs (id TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID`;
/** Forgets in bulk: no sooner than this after the first of them. */
const SWEEP_MS = 120_000;

/** Named by the key's thumbprint. A proof that is forgotten is too old to be accepted. */
export class ProofLedger extends DurableObject {
  constructor(state: DurableObjectState, env: Cloudflare.Env) {
    super(state, env);
    state.storage.sql.exec(TABLE);
  }

  /** @returns false when the proof was used before. */
  async use(id: string, expiresAtMs: number): Promise<boolean> {
    const { sql } = this.ctx.storage;
    const isNew = sql.exec("SELECT 1 FROM proofs WHERE id = ?", id).toArray().length === 0;
    if (!isNew) return false;
    sql.exec("INSERT INTO proofs VALUES (?, ?)", id, expiresAtMs);
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + SWEEP_MS);
    return true;
  }

  override async alarm(): Promise<void> {
    const { sql } = this.ctx.storage;
    sql.exec("DELETE FROM proofs WHERE expires_at < ?", Date.now());
    const [left] = sql.exec("SELECT count(*) AS count FROM proofs").toArray();
    if (left?.count !== 0) await this.ctx.storage.setAlarm(Date.now() + SWEEP_MS);
    else await this.ctx.storage.deleteAll().then(() => sql.exec(TABLE));
  }
}

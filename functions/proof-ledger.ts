import { DataStreamError } from "../core/errors.ts";
import type { ProofLedger as ProofLedgerObject } from "../durable-objects/proof-ledger.ts";
import type { ProofLedger } from "./proofs.ts";

/** The ledger in Durable Objects, one for each key. An object that does not answer lets nothing pass. */
export function durableProofLedger(ledgers: DurableObjectNamespace<ProofLedgerObject>): ProofLedger {
  return {
    async useOnce(thumbprint, proofId, expiresAtMs) {
      try {
        return await ledgers.get(ledgers.idFromName(thumbprint)).use(proofId, expiresAtMs);
      } catch (cause) {
        throw new DataStreamError(
          "unavailable",
          "The proof cannot be checked now. Try again with a new one.",
          {
            cause,
          },
        );
      }
    },
  };
}

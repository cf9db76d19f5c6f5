import fc from "fast-check";
import { expect, test } from "vitest";
import { toBase64 } from "../../core/base64.ts";
import { RECEIPT_TYPE, sessionReceipt, type SessionReceipt } from "../../core/stream/receipt.ts";
import { verifyReceipt } from "../../core/stream/receipt-verify.ts";
import { type Envelope, envelopeOf, preAuthentication } from "../../core/trust/dsse.ts";
import { keyPairOf, sign } from "../../core/trust/ed25519.ts";
import { statementBytes } from "../../core/trust/statement.ts";
import { blake3 } from "../core/blake3.ts";
import { MemoryRecords, sqliteRecords } from "../stream/records.ts";
import { histories, manifest, play } from "./history.ts";
import { PYTHON, verifyByScript } from "./verifiers.ts";

const key = keyPairOf(new Uint8Array(32).fill(7));
const x = toBase64(key.publicKey).replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
const jwks = { keys: [{ kty: "OKP", crv: "Ed25519", kid: "one", x }] };

function seal(receipt: SessionReceipt): Envelope {
  const payload = statementBytes({
    ...receipt,
    issuer: "urn:cyxcloud:test",
    issued_at: new Date(0).toISOString(),
  });
  return envelopeOf(RECEIPT_TYPE, payload, "one", sign(preAuthentication(RECEIPT_TYPE, payload), key));
}

test("whatever happened, the receipt verifies, and says what a model of the acknowledgements says", () => {
  let voids = 0;
  fc.assert(
    fc.property(histories, (history) => {
      const records = new MemoryRecords();
      const standing = play(records, history);
      const sqlite = sqliteRecords();
      play(sqlite.records, history);
      if (records.leaseCount() === 0) return;
      const receipt = sessionReceipt(records, 1_000);
      expect(sessionReceipt(sqlite.reopen(), 1_000)).toEqual(receipt);
      sqlite.close();
      const said = receipt.segments.map((each) => [
        [each.generation, each.epoch, each.rank].join(),
        each.acknowledged_batches,
      ]);
      expect(Object.fromEntries(said)).toEqual(Object.fromEntries(standing));
      verifyReceipt({ envelope: seal(receipt), jwks, manifest }, blake3);
      for (const { leases } of receipt.segments)
        for (const { acknowledgement } of leases) if (acknowledgement?.void) voids++;
    }),
    { numRuns: 400 },
  );
  expect(voids).toBeGreaterThan(50);
});

test("a receipt of the latest leases alone verifies, and says how many it leaves out", () => {
  fc.assert(
    fc.property(histories, fc.integer({ min: 1, max: 6 }), (history, limit) => {
      const records = new MemoryRecords();
      play(records, history);
      if (records.leaseCount() === 0) return;
      const receipt = sessionReceipt(records, limit);
      expect(receipt.omitted_leases).toBe(Math.max(0, records.leaseCount() - limit));
      verifyReceipt({ envelope: seal(receipt), jwks, manifest }, blake3);
    }),
    { numRuns: 100 },
  );
});

test.skipIf(PYTHON === undefined)(
  "the Python script verifies the same receipts (needs test/receipts/requirements.txt)",
  async () => {
    await fc.assert(
      fc.asyncProperty(histories, async (history) => {
        const records = new MemoryRecords();
        play(records, history);
        if (records.leaseCount() === 0) return;
        const receipt = sessionReceipt(records, 1_000);
        const { output, accepted } = await verifyByScript({ envelope: seal(receipt), jwks, manifest });
        expect({ output, accepted }).toEqual({ output: expect.any(String), accepted: true });
        expect(
          output
            .trim()
            .split("\n")
            .map((line) => JSON.parse(line) as unknown),
        ).toEqual(
          receipt.segments.map((each) => ({
            epoch: each.epoch,
            rank: each.rank,
            world_size: each.world_size,
            start_index: each.start_index,
            acknowledged_batches: each.acknowledged_batches,
            head: each.acknowledged_head,
          })),
        );
      }),
      { numRuns: 25 },
    );
  },
);

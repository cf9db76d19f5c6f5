import fc from "fast-check";
import { expect, test } from "vitest";
import { Metrics } from "../../../companion/service/metrics.ts";
import { RecentValues } from "../../../companion/service/recent-values.ts";

test("a quantile is a value that was seen, and that so many do not exceed", () => {
  const values = fc.array(fc.double({ min: 0, max: 10, noNaN: true }), { minLength: 1, maxLength: 5_000 });
  fc.assert(
    fc.property(values, fc.double({ min: 0.01, max: 1, noNaN: true }), (all, part) => {
      const recent = new RecentValues();
      for (const value of all) recent.add(value);
      const latest = all.slice(-4_096);
      const [quantile = -1] = recent.quantiles([part]);
      expect(latest.some((value) => value === quantile)).toBe(true);
      expect(latest.filter((value) => value <= quantile).length).toBeGreaterThanOrEqual(
        part * latest.length - 1e-9,
      );
      expect(latest.filter((value) => value < quantile).length).toBeLessThan(part * latest.length);
    }),
  );
  expect(new RecentValues().quantiles([0.5])).toEqual([0]);
});

test("a trainer that nearly always had its batch is not told to wait", async () => {
  const metrics = new Metrics({
    messageBytes: () => 7,
    slots: () => ({ held: 1, all: 4 }),
    draining: () => false,
  });
  const consumer = metrics.consumerObserver(3);
  for (let i = 0; i < 997; i++) consumer.dataReady(0);
  for (const seconds of [0.1, 0.2, 0.3]) consumer.dataReady(seconds);
  consumer.worked(9.4);
  const text = await metrics.registry.metrics();
  const value = (series: string): number =>
    Number(
      text
        .split("\n")
        .find((line) => line.startsWith(`cyxcloud_companion_${series} `))
        ?.split(" ")[1],
    );
  expect(value('data_ready_quantile_seconds{rank="3",quantile="0.99"}')).toBe(0);
  expect(value('data_ready_seconds_count{rank="3"}')).toBe(1_000);
  expect(value('data_ready_seconds_bucket{le="0.1",rank="3"}')).toBe(998);
  expect(value('consumer_wait_seconds_total{rank="3"}')).toBeCloseTo(0.6);
  expect(value('consumer_work_seconds_total{rank="3"}')).toBe(9.4);
  expect([value("message_bytes"), value("slots_held"), value("slots"), value("draining")]).toEqual([
    7, 1, 4, 0,
  ]);
});

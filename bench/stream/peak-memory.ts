import type { BenchResult } from "../figure.ts";

export async function measure(): Promise<readonly BenchResult[]> {
  return [];
}

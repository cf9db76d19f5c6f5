/** Where the matrix leaves its figures for `npm run attacks`. */
import { writeFileSync } from "node:fs";

export type Figures = ReadonlyMap<string, { readonly tried: number; readonly accepted: number }>;

export function report(figures: Figures): void {
  const file = process.env["CYXCLOUD_ATTACKS_REPORT"];
  if (file !== undefined)
    writeFileSync(file, JSON.stringify([...figures].map(([name, counts]) => ({ name, ...counts }))));
}

import { loadavg } from "node:os";

/** One measured figure. With `--json` it is one line of output, keys as here. */
export interface Figure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What `ratio` compares with, with its own value; null when there is nothing to compare with. */
  readonly against: string | null;
  /** `value` by the value of `against`, both from this run. */
  readonly ratio: number | null;
  /** Least ratio that the project promises, or null. */
  readonly goal: number | null;
  /** CPU time of the measured process for 10^9 bytes, or null where the system does not tell. */
  readonly cpu_seconds_per_gb: number | null;
  /** One-minute load average of the machine at the time, to judge the figure by. */
  readonly load: number;
}

/** A figure that cannot be had here, by name and with the tool that is missing. */
export interface SkippedFigure {
  readonly name: string;
  readonly skipped: string;
}

export type BenchResult = Figure | SkippedFigure;

/** What a module of the registry exports. */
export interface BenchModule {
  /** Names that it reports, the first being the one it is registered under. */
  measure(): Promise<readonly BenchResult[]>;
}

type FigureInput = Pick<Figure, "name" | "value" | "unit"> & Partial<Figure>;

/** A figure with null for what is not given, rounded to what a reader can use. */
export function figure(input: FigureInput): Figure {
  const { against = null, ratio = null, goal = null, cpu_seconds_per_gb: cpu = null } = input;
  return {
    name: input.name,
    value: rounded(input.value),
    unit: input.unit,
    against,
    ratio: ratio === null ? null : rounded(ratio),
    goal,
    cpu_seconds_per_gb: cpu === null ? null : rounded(cpu),
    load: rounded(input.load ?? loadavg()[0] ?? 0),
  };
}

/** Three significant digits, or the whole number where that says more. */
function rounded(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}

/** One line for people. */
export function describe(result: BenchResult): string {
  if ("skipped" in result) return `${result.name}: skipped, ${result.skipped}`;
  const parts = [`${result.name}: ${result.value} ${result.unit}`];
  if (result.ratio !== null) parts.push(`${result.ratio} of ${result.against ?? "the other"}`);
  if (result.goal !== null) {
    const met = result.ratio !== null && result.ratio >= result.goal;
    parts.push(`goal ${result.goal}: ${met ? "met" : "MISSED"}`);
  }
  if (result.cpu_seconds_per_gb !== null) parts.push(`${result.cpu_seconds_per_gb} CPU-s/GB`);
  parts.push(`load ${result.load}`);
  return parts.join(", ");
}

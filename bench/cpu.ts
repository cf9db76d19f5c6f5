import { readFileSync } from "node:fs";

/** Ticks of /proc/PID/stat: USER_HZ, which Linux fixes at 100. */
const TICKS_PER_SECOND = 100;

/** CPU seconds so far of all processes that descend from `pid` and live, or undefined away from Linux. */
export function descendantCpuSeconds(pid: number = process.pid): number | undefined {
  const children = childrenOf(pid);
  if (children === undefined) return undefined;
  return children.reduce((sum, child) => sum + ownCpuSeconds(child) + (descendantCpuSeconds(child) ?? 0), 0);
}

function childrenOf(pid: number): number[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text.split(" ").filter(Boolean).map(Number);
  } catch {
    return undefined;
  }
}

function ownCpuSeconds(pid: number): number {
  try {
    // The second field is the command in parentheses and may hold spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** The gateway's workerd as the operating system sees it. */
import { readdirSync, readFileSync } from "node:fs";

const TICKS_PER_SECOND = 100;
const KIB = 1024;

export interface ProcessMemory {
  readonly residentBytes: number;
  /** Most that it ever was. */
  readonly peakBytes: number;
}

/** Ids of this process's workerd children. */
export function workerdChildren(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const stat = statOf(pid);
      return stat !== undefined && stat.name === "workerd" && Number(stat.fields[1]) === process.pid;
    });
}

export function cpuSeconds(pid: number): number {
  const fields = statOf(pid)?.fields ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

export function memoryOf(pid: number): ProcessMemory {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * KIB;
  return { residentBytes: bytes("VmRSS"), peakBytes: bytes("VmHWM") };
}

/** Resident bytes of the process's mappings of exactly this size: a WebAssembly memory is one. */
export function residentOfMappings(pid: number, byteLength: number): number {
  let resident = 0;
  let wanted = false;
  for (const line of readFileSync(`/proc/${pid}/smaps`, "utf8").split("\n")) {
    const [, field, kilobytes] = /^(\w+):\s+(\d+) kB$/.exec(line) ?? [];
    if (field === "Size") wanted = Number(kilobytes) * KIB === byteLength;
    else if (field === "Rss" && wanted) resident += Number(kilobytes) * KIB;
  }
  return resident;
}

function statOf(pid: number): { readonly name: string; readonly fields: string[] } | undefined {
  try {
    // The name is in parentheses and may hold spaces; the fields that follow start with the state.
    const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    return name === undefined || rest === undefined ? undefined : { name, fields: rest.split(" ") };
  } catch {
    return undefined; // it ended meanwhile
  }
}

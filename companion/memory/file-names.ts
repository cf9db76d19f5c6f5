/**
 * Names of shared files say whose they are, so that the next process can remove what a killed one left:
 * `cyxcloud-NAMESPACE-PID-START-RANDOM.ring`. A process id means something only inside its PID namespace (containers
 * may share a folder), and only together with the time the process started (ids are used again).
 */
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, readlinkSync, unlinkSync } from "node:fs";
import { join } from "node:path";

const PATTERN = /^cyxcloud-(\d+)-(\d+)-(\d+)-[0-9a-f]{16}\.ring$/;

/** A name that nobody has. */
export function freshName(folder: string): string {
  const start = startTime(process.pid) ?? "0";
  const random = randomBytes(8).toString("hex");
  return join(folder, `cyxcloud-${namespace()}-${process.pid}-${start}-${random}.ring`);
}

const swept = new Set<string>();

/** `sweep`, the first time that this process uses the folder. */
export function sweepOnce(folder: string): void {
  if (swept.has(folder)) return;
  swept.add(folder);
  sweep(folder);
}

/** Removes files of processes of this namespace that are dead; returns their names. Others' files stay. */
export function sweep(folder: string): readonly string[] {
  return readNames(folder).filter((name) => {
    const [, space, pid, start] = PATTERN.exec(name) ?? [];
    if (space !== namespace() || pid === undefined || startTime(Number(pid)) === start) return false;
    try {
      unlinkSync(join(folder, name));
      return true;
    } catch {
      // Of another user, or just removed by another sweep.
      return false;
    }
  });
}

function readNames(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Ticks after the start of the system, field 22 of /proc/PID/stat; undefined for a process that is dead. */
function startTime(pid: number): string | undefined {
  try {
    // The second field is the command in parentheses and may hold spaces and parentheses.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

/** Inode of the PID namespace: "pid:[4026531836]" without what is around it. */
function namespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid").replace(/\D/g, "");
  } catch {
    return "0";
  }
}

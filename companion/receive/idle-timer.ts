/** Runs out once when it was neither refreshed nor stopped for its time; refreshing starts it anew, also after that. */
export interface IdleTimer {
  refresh(): void;
  stop(): void;
}

export type StartIdleTimer = (ms: number, ranOut: () => void) => IdleTimer;

export const startIdleTimer: StartIdleTimer = (ms, ranOut) => {
  const timer = setTimeout(ranOut, ms);
  return { refresh: () => void timer.refresh(), stop: () => clearTimeout(timer) };
};

import type { Events } from "./types.js";

/**
 * Inactivity of the person. It counts and warns; who ends the session is
 * `client.ts`.
 *
 * @param limit milliseconds after which the session ends, 0 for never
 * @param every how often the authority is told at most, 0 for never
 * @param longest milliseconds of warning
 * @param tell other tabs and the storage are to hear of activity
 * @param report the authority is to hear of it; it enforces idleness as well
 */
export function createIdle(
  now: () => number,
  limit: () => number,
  every: () => number,
  longest: number,
  emit: <K extends keyof Events>(event: K, e: Events[K]) => void,
  tell: (at: number) => void,
  report: () => void,
) {
  let last = 0;
  let told = 0;
  let reported = 0;
  let dirty = false; // there was activity that the authority has not heard of
  let shown = 0; // the number that stands in the warning

  const left = () => (limit() ? last + limit() - now() : Infinity);
  /** Until the warning, or negative in it. */
  const quiet = () => left() - Math.min(longest, limit() / 2);

  function active(at: number) {
    last = Math.max(last, at);
    if (shown && quiet() > 0) {
      shown = 0;
      emit("idleCancelled", {});
    }
  }
  function tick() {
    const seconds = Math.ceil(left() / 1000);
    if (seconds > 0 && quiet() <= 0 && seconds !== shown) emit("idleWarning", { secondsLeft: (shown = seconds) });
    if (dirty && every() && now() >= reported + every()) {
      take();
      report();
    }
  }
  /** Whether the authority is to be told now that somebody is there. */
  function take(): boolean {
    if (dirty) reported = now();
    return dirty && !(dirty = false);
  }
  return {
    left,
    tick,
    take,
    last: () => last,
    /** A session begins here; when the person was active, and whether the
     * authority knows. */
    start(at: number, known?: boolean) {
      last = at;
      shown = 0;
      dirty = false;
      if (known) reported = at;
    },
    /** It was not as long ago as the clock said. */
    shift: (ms: number) => void (last += ms),
    /** Activity in this tab. */
    touch() {
      const news = shown || now() > told + 2000;
      dirty = true;
      active(now());
      if (news) tell((told = now()));
      tick();
    },
    /** Activity in another tab, which reports it itself. */
    heard: active,
    /** Milliseconds until there is something to show. */
    next: () => (quiet() > 0 ? quiet() : left() % 1000 || 1000),
  };
}

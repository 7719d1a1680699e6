import type { WebStorage } from "./env.js";
import type { Storage } from "./types.js";

export const web = (s: WebStorage): Storage => ({
  get: (k) => s.getItem(k),
  set: (k, v) => s.setItem(k, v),
  remove: (k) => s.removeItem(k),
});

/**
 * A storage that never throws: where the real one fails, memory takes over.
 * `open` may throw as well: with cookies blocked the mere mention of
 * `window.sessionStorage` does. Without it there is memory only. `failed` is
 * called once.
 */
export function createStore(open: (() => Storage) | false | undefined, prefix: string, failed?: () => void): Storage {
  const memory = new Map<string, string>();
  let broken = false;
  /** `what` may be synchronous or not. */
  function attempt<T>(what: () => T | Promise<T>, instead: () => T): T | Promise<T> {
    const mend = () => {
      if (!broken) failed?.();
      broken = true;
      return instead();
    };
    try {
      const out = what();
      return out instanceof Promise ? out.catch(mend) : out;
    } catch {
      return mend();
    }
  }
  return {
    get(name) {
      const remembered = () => memory.get(name) ?? null;
      return open && !broken ? attempt(() => open().get(prefix + name), remembered) : remembered();
    },
    set(name, value) {
      memory.set(name, value);
      if (open && !broken)
        return attempt<void>(
          () => open().set(prefix + name, value),
          // Full. What an earlier write left is out of date, and a spent
          // refresh token would end the session: better nothing.
          () => void attempt<void>(() => open().remove(prefix + name), () => {}),
        );
    },
    remove(name) {
      memory.delete(name);
      // Tried even where writing has failed: nothing may be left behind.
      if (open) return attempt<void>(() => open().remove(prefix + name), () => {});
    },
  };
}

/** For storages that are known to be synchronous. */
export const getNow = (store: Storage, name: string) => store.get(name) as string | null;

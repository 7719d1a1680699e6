"use client";

import { useCallback, useRef, useState } from "react";
import type { CurfewErrorLike, Receipt, Result, Scope } from "@curfew/client";
import { endSession } from "./end.js";
import { useAuth } from "./provider.js";
import { useLatest } from "./useLatest.js";

/** What `useLogout` and every component that logs out can be told. */
export interface LogoutSettings {
  /**
   * `"local"`, this session; `"others"`, every other session of the person, which
   * leaves this one; `"global"`, every session. Default `"local"`.
   */
  scope?: Scope;
  /**
   * Where to go afterwards, in place of the current page of the history. It waits
   * for the authority's answer, but no longer than two seconds. Not for `"others"`.
   */
  redirect?: string;
  /** Told what became of it, also when the component is gone by then. */
  onDone?: (result: Result<Receipt>) => void;
}

export interface Logout {
  /**
   * Logs out. Local state is gone at once, whatever the authority says. It never
   * rejects and can be given to `onClick` as it is; while a call is on its way,
   * further calls wait for that one.
   */
  logout(options?: LogoutCall): Promise<Result<Receipt>>;
  /** The authority has not answered yet. */
  loading: boolean;
  /**
   * Why the authority could not be told. The session is gone here nevertheless,
   * and the client keeps the logout and delivers it later.
   */
  error: CurfewErrorLike | null;
  /** What the authority has done. */
  receipt: Receipt | null;
}

/** The argument of `logout`; the second form is what `onClick` passes. */
export type LogoutCall = { scope?: Scope } | { nativeEvent: unknown };

/** How long `redirect` waits for an answer, in milliseconds. */
const PATIENCE = 2000;

export function useLogout(settings: LogoutSettings = {}): Logout {
  const { client } = useAuth();
  const latest = useLatest(settings);
  const running = useRef<Promise<Result<Receipt>> | null>(null);
  const [loading, setLoading] = useState(false);
  const [result, setResult] = useState<Result<Receipt> | null>(null);

  const logout = useCallback(
    (options?: LogoutCall): Promise<Result<Receipt>> => {
      if (running.current) return running.current;
      const { redirect, scope: usual = "local" } = latest.current;
      const scope = (options && "scope" in options && options.scope) || usual;
      setLoading(true);
      setResult(null);

      const ending = endSession(client, scope).then((result) => {
        running.current = null;
        setLoading(false);
        setResult(result);
        // Apart, so that what a callback throws is an error of its own.
        const { onDone } = latest.current;
        if (onDone) queueMicrotask(() => onDone(result));
        return result;
      });
      running.current = ending;
      if (redirect !== undefined && scope !== "others") {
        void Promise.race([ending, new Promise((resolve) => setTimeout(resolve, PATIENCE))]).then(() => location.replace(redirect));
      }
      return ending;
    },
    [client, latest],
  );

  return {
    logout,
    loading,
    error: result && !result.ok ? result.error : null,
    receipt: result?.ok ? result.value : null,
  };
}

"use client";

import { useEffect } from "react";
import type { Events } from "@curfew/client";
import { useAuth } from "./provider.js";
import { useLatest } from "./useLatest.js";

/**
 * Calls `listener` at each event of the client, for example to show why somebody
 * has been signed out:
 *
 * ```tsx
 * useAuthEvent("signedOut", ({ reason }) => setNotice(reason));
 * ```
 */
export function useAuthEvent<K extends keyof Events>(event: K, listener: (e: Events[K]) => void): void {
  const { client } = useAuth();
  const latest = useLatest(listener);
  useEffect(() => client.on(event, (e) => latest.current(e)), [client, event, latest]);
}

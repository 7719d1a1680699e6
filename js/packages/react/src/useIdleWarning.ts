"use client";

import { useCallback, useState } from "react";
import { useAuth } from "./provider.js";
import { useAuthEvent } from "./useAuthEvent.js";

export interface Idle {
  /**
   * Seconds until inactivity ends the session; null as long as nobody needs to be
   * warned. It stands still while somebody is at the warning itself.
   */
  secondsLeft: number | null;
  /** Somebody is there: the session goes on. */
  stay(): void;
}

/** The warning before inactivity ends the session, for a dialog of your own. */
export function useIdleWarning(): Idle {
  const { client, isAuthenticated } = useAuth();
  const [left, setLeft] = useState<number | null>(null);
  const over = () => setLeft(null);
  useAuthEvent("idleWarning", ({ secondsLeft }) => setLeft(secondsLeft));
  useAuthEvent("idleCancelled", () => {
    if (!atTheWarning()) over();
  });
  useAuthEvent("signedOut", over);

  const stay = useCallback(() => {
    client.stayActive();
    setLeft(null);
  }, [client]);
  return { secondsLeft: isAuthenticated ? left : null, stay };
}

/**
 * Whether it is at an open dialog that somebody does something just now. Every
 * key and every press of a pointer is activity, also the one that is on its way
 * to "Sign out now". If the dialog went away at that, the click would go to
 * nothing, or to what lies below, and Tab could never reach the other button.
 */
function atTheWarning(): boolean {
  const target = window.event?.target;
  return target instanceof Element && target.closest("dialog, [role=alertdialog], [role=dialog]") !== null;
}

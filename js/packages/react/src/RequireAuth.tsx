"use client";

import { Fragment, useEffect, useRef } from "react";
import type { ReactElement, ReactNode } from "react";
import type { EndReason, State, User } from "@curfew/client";
import { useAuth } from "./provider.js";
import { useLatest } from "./useLatest.js";

export interface RequireAuthProps {
  /** What only somebody who is signed in may see. */
  children?: ReactNode | ((user: User) => ReactNode);
  /** Shown when nobody is signed in. */
  fallback?: ReactNode;
  /** Shown until that is known. */
  loading?: ReactNode;
  /**
   * Called when nobody is signed in, at first or any longer: the place to tell
   * the router. `reason` is null if there was no session.
   */
  onSignedOut?: (reason: EndReason | null) => void;
  /** Where to go then, in place of the current page of the history. */
  redirect?: string | ((reason: EndReason | null) => string);
}

/**
 * Renders its children for somebody who is signed in, and for nobody else. They
 * are gone in the same moment as the session; their state is not kept for the
 * next person.
 */
export function RequireAuth({ children, fallback, loading, onSignedOut, redirect }: RequireAuthProps): ReactElement {
  const { status, user, reason, client } = useAuth();
  const latest = useLatest({ onSignedOut, redirect });
  const told = useRef<State | null>(null);

  useEffect(() => {
    if (status !== "signedOut" || told.current === client.state) return;
    told.current = client.state; // Strict mode comes twice.
    const { onSignedOut, redirect } = latest.current;
    onSignedOut?.(reason);
    if (redirect !== undefined) location.replace(typeof redirect === "string" ? redirect : redirect(reason));
  }, [client, latest, reason, status]);

  if (!user) return <>{status === "loading" ? loading : fallback}</>;
  return <Fragment key={user.id}>{typeof children === "function" ? children(user) : children}</Fragment>;
}

/** Its children, for somebody who is signed in. */
export function SignedIn({ children }: Pick<RequireAuthProps, "children">): ReactElement {
  return <RequireAuth>{children}</RequireAuth>;
}

/** Its children, when it is known that nobody is signed in. */
export function SignedOut({ children }: { children?: ReactNode | ((reason: EndReason | null) => ReactNode) }): ReactElement | null {
  const { status, reason } = useAuth();
  if (status !== "signedOut") return null;
  return <>{typeof children === "function" ? children(reason) : children}</>;
}

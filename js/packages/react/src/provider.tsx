"use client";

import { createContext, useContext, useEffect, useMemo, useState, useSyncExternalStore } from "react";
import type { ReactElement, ReactNode } from "react";
import type { Client, EndReason, Options, Receipt, Result, Scope, Session, SignInInput, State, User } from "@curfew/client";
import { endSession } from "./end.js";
import { LOADING, OwnedClient } from "./owned.js";

/** Who is signed in, and what can be done about it. */
export interface Auth {
  /**
   * `"loading"` until storage, or another tab, has been heard: neither the page
   * nor the login should be shown then. Always `"loading"` on a server.
   */
  status: State["status"];
  user: User | null;
  session: Session | null;
  /** Shorthand for `status === "signedIn"`. */
  isAuthenticated: boolean;
  /** Shorthand for `status === "loading"`. */
  loading: boolean;
  /**
   * The access token as it is now. For requests take `client.fetch` or
   * `client.token()`, which get a new one where this is about to end.
   */
  accessToken: string | null;
  /** Why the last session is over; null if there was none, or one is on. */
  reason: EndReason | null;
  /** Never rejects; a wrong password is a value. */
  signIn(input: SignInInput): Promise<Result<Session>>;
  /**
   * Ends the session: here at once, at the authority as soon as it can be
   * reached. Never rejects. `useLogout` also says how far it has come.
   */
  logout(options?: { scope?: Scope }): Promise<Result<Receipt>>;
  /**
   * Forgets the session here and does not wait for the authority, which is told
   * all the same: a token that was merely forgotten would stay good.
   */
  clearTokens(): void;
  /** The client itself: `fetch`, `token`, `on`, `changePassword` and the rest. */
  client: Client;
}

const AuthContext = createContext<Auth | null>(null);

/** Either a client of your own, or the options to make one with. */
export type AuthProviderProps = { children?: ReactNode } & (
  | {
      /** A client that was made elsewhere. Whoever made it closes it. */
      client: Client;
      options?: undefined;
    }
  | {
      /**
       * What to make a client with. It is made once, after the first render in a
       * browser, and closed when the provider is unmounted; the session stays.
       * Later changes are not looked at: give the provider another `key`.
       */
      options: Options;
      client?: undefined;
    }
);

/** Gives the tree below it the session. Put one around the whole application. */
export function AuthProvider({ client: given, options, children }: AuthProviderProps): ReactElement {
  const [owned] = useState(() => (options ? new OwnedClient(options) : null));
  const client = given ?? owned;
  if (!client) throw new Error("AuthProvider needs `client` or `options`");

  // Before the subscription below, so that this is what opens the client.
  useEffect(() => {
    if (client === owned) return owned.hold();
  }, [client, owned]);

  const [subscribe, snapshot] = useMemo(
    () => [(listener: () => void) => client.subscribe(listener), () => client.state] as const,
    [client],
  );
  const state = useSyncExternalStore(subscribe, snapshot, onServer);
  const auth = useMemo(() => describe(client, state), [client, state]);

  return <AuthContext.Provider value={auth}>{children}</AuthContext.Provider>;
}

/** The session, and what can be done about it; renders again when it changes. */
export function useAuth(): Auth {
  const auth = useContext(AuthContext);
  if (!auth) throw new Error("useAuth must be used within an AuthProvider");
  return auth;
}

// A server knows nobody: what it renders may be cached, or sent to another person.
const onServer = () => LOADING;

function describe(client: Client, { status, session, reason }: State): Auth {
  return {
    status,
    session,
    user: session?.user ?? null,
    accessToken: session?.accessToken ?? null,
    isAuthenticated: status === "signedIn",
    loading: status === "loading",
    reason,
    signIn: (input) => client.signIn(input),
    logout: (options) => endSession(client, options?.scope),
    clearTokens: () => void endSession(client),
    client,
  };
}

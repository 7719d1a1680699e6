import { parse } from "./env.js";
import type { User } from "./types.js";

/**
 * A session as it is stored and handed to other tabs. Its times are of this
 * browser's clock, counted from the moment `at` of the answer: no server's
 * time is in it, and whoever reads it later can tell how old it is.
 */
export interface Rec {
  v: 1;
  sid: string;
  user: User;
  access: string;
  refresh: string;
  logout: string;
  /** Counts the refreshes of a session: the greater one is the newer. */
  n: number;
  at: number;
  accessAt: number;
  endsAt: number;
  /** The authority's idle time-out, 0 for none. */
  idle: number;
}

/** Garbage, and what another version wrote, is no record. */
export function valid(value: unknown): Rec | null {
  const r = value as Rec | null;
  return r?.v === 1 && r.sid && r.access && r.refresh && r.logout && r.n + r.at + r.accessAt + r.endsAt + r.idle > 0 ? r : null;
}

export const read = (text: string | null): Rec | null => valid(parse(text));

/** In milliseconds. An authority that names no end of the session means a far one. */
export const leftOf = (seconds: number | undefined) => (seconds ?? 3e7) * 1000;

/** The record of an answer of /token, or null if it is none. */
export const fromAnswer = (b: any, at: number, old?: Rec): Rec | null =>
  valid({
    v: 1,
    sid: b.session_id,
    user: { roles: [], ...old?.user, ...b.user },
    access: b.access_token,
    refresh: b.refresh_token,
    logout: b.logout_token ?? old?.logout,
    n: (old?.n ?? 0) + 1,
    at,
    accessAt: at + b.expires_in * 1000,
    endsAt: at + leftOf(b.session_expires_in),
    idle: leftOf(b.idle_timeout ?? 0),
  });

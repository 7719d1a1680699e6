import { vi } from "vitest";
import type { Client, CurfewErrorLike, Device, EndReason, Events, Receipt, Result, Session, State } from "@curfew/client";

export const LOADING: State = { status: "loading", session: null, reason: null };
export const OFFLINE: CurfewErrorLike = { code: "network", message: "No answer", status: 0 };

export function sessionOf(name: string): Session {
  const user = { id: `user-${name}`, email: `${name}@example.com`, name, roles: [] };
  return { id: `session-${name}`, user, accessToken: `token-${name}`, accessExpiresAt: 1e12, expiresAt: 2e12, idleTimeout: 0 };
}

export const signedIn = (name = "alice"): State => ({ status: "signedIn", session: sessionOf(name), reason: null });
export const signedOut = (reason: EndReason | null = null): State => ({ status: "signedOut", session: null, reason });

export const receipt = (change: Partial<Receipt> = {}): Receipt => ({
  state: "enforced", scope: "local", sessionsEnded: 1, verifiers: 2, tookMs: 6, seq: 1, ...change,
});
export const good = <T>(value: T): Result<T> => ({ ok: true, value });
export const bad = (error: CurfewErrorLike = OFFLINE): Result<never> => ({ ok: false, error });

export function device(id: string, change: Partial<Device> = {}): Device {
  const at = "2026-11-21T08:00:00Z";
  return { id, clientId: "default", device: id, userAgent: "", ip: "192.0.2.1", createdAt: at, lastSeenAt: at, expiresAt: at, current: false, ...change };
}

/** An answer that comes when the test says so. */
export function later<T>() {
  let answer!: (value: T) => void;
  const promise = new Promise<T>((resolve) => (answer = resolve));
  return { promise, answer };
}

/** A client without network. `signOut` clears local state first, as the real one does. */
export function fakeClient(initial: State = signedIn()) {
  let state = initial;
  const subscribers = new Set<() => void>();
  const listeners = new Map<string, Set<(e: never) => void>>();

  const emit = <K extends keyof Events>(event: K, e: Events[K]) =>
    listeners.get(event)?.forEach((listener) => (listener as (e: Events[K]) => void)(e));
  const become = (next: State) => {
    state = next;
    subscribers.forEach((listener) => listener());
    emit("change", next);
    if (next.status === "signedOut" && next.reason) emit("signedOut", { reason: next.reason });
  };
  /** What the authority answers a logout; a test replaces it. */
  const authority = { answer: async (): Promise<Result<Receipt>> => good(receipt()) };

  const client = {
    get state() {
      return state;
    },
    ready: Promise.resolve(initial),
    fetch: vi.fn(async () => new Response()),
    signIn: vi.fn(async ({ login }: { login: string }) => {
      become(signedIn(login));
      return good(sessionOf(login));
    }),
    signOut: vi.fn(async () => {
      become(signedOut("user"));
      return authority.answer();
    }),
    token: vi.fn(async () => state.session?.accessToken ?? null),
    refresh: vi.fn(async () => bad()),
    stayActive: vi.fn(),
    sessions: {
      list: vi.fn(async (): Promise<Result<Device[]>> => good([])),
      end: vi.fn(async (_id: string): Promise<Result<Receipt>> => good(receipt())),
      endOthers: vi.fn(async (): Promise<Result<Receipt>> => good(receipt({ scope: "others", sessionsEnded: 2 }))),
    },
    changePassword: vi.fn(async () => bad()),
    on<K extends keyof Events>(event: K, listener: (e: Events[K]) => void) {
      const set = listeners.get(event) ?? new Set();
      listeners.set(event, set.add(listener));
      return () => void set.delete(listener);
    },
    subscribe(listener: () => void) {
      subscribers.add(listener);
      return () => void subscribers.delete(listener);
    },
    close: vi.fn(),
  } satisfies Client;

  return {
    client,
    authority,
    become,
    emit,
    /** How many listeners are left behind. */
    get listening() {
      return subscribers.size + [...listeners.values()].reduce((n, set) => n + set.size, 0);
    },
  };
}

export type FakeClient = ReturnType<typeof fakeClient>;

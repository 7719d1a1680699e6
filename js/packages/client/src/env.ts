/**
 * What a client needs of the world around it. In use this is `globalThis`;
 * tests give each "tab" a world of its own. Everything that a server, an old
 * browser or a privacy setting may lack is optional.
 */
export interface World {
  fetch?: typeof fetch;
  reportError?(e: unknown): void;
  document?: Pick<Document, "visibilityState" | "addEventListener">;
  location?: Pick<Location, "href" | "origin">;
  performance: Pick<Performance, "now"> & { getEntriesByType?(type: string): { type?: string }[] };
  sessionStorage?: WebStorage;
  localStorage?: WebStorage;
  BroadcastChannel?: new (name: string) => Channel;
  addEventListener?(type: string, listener: (e: never) => void, options?: AddEventListenerOptions): void;
}

export type WebStorage = Pick<globalThis.Storage, "getItem" | "setItem" | "removeItem">;

export interface Channel {
  postMessage(message: unknown): void;
  close(): void;
  onmessage: ((e: MessageEvent) => void) | null;
}

/** setTimeout that keeps no Node process alive. */
export function later(run: () => void, ms: number): ReturnType<typeof setTimeout> {
  const timer = setTimeout(run, ms);
  (timer as { unref?(): void }).unref?.();
  return timer;
}

/** Doubles with every failure up to a minute, and is spread out, so that a
 * thousand browsers do not come back in the same second. */
export const backoff = (failures: number, error?: { retryAfter?: number }) =>
  Math.max(Math.min(60_000, 1000 * 2 ** failures) * (0.5 + Math.random() / 2), (error?.retryAfter ?? 0) * 1000);

export function parse(text: string | null): unknown {
  try {
    return JSON.parse(text ?? "null");
  } catch {
    return null; // somebody else's, or half written
  }
}

/** What was stored as an object. */
export const table = (text: string | null) => Object(parse(text)) as Record<string, unknown>;

/** The members of an answer in the names of this package: `took_ms` → `tookMs`. */
export const camel = (o: object | undefined | false): object =>
  Object.fromEntries(Object.entries(o || {}).map(([k, v]) => [k.replace(/_(.)/g, (_, c: string) => c.toUpperCase()), v]));

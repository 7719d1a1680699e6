import { afterEach, beforeEach, vi } from "vitest";
import "../src/live.js"; // loaded lazily in use; here it is there already
import { Authority } from "./authority.js";
import { Browser, type Tab } from "./browser.js";

export const world = {} as { authority: Authority; browser: Browser };

export function fresh() {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "Date", "performance"], now: new Date("2026-11-20T10:00:00Z") });
    vi.spyOn(Math, "random").mockReturnValue(0.5);
    world.authority = new Authority();
    world.browser = new Browser(world.authority);
  });
  afterEach(() => {
    for (const t of world.browser.tabs) for (const c of t.clients) c.close();
    vi.useRealTimers();
  });
}

/** Lets everything happen that is due within `ms`. */
export async function pass(ms = 0) {
  await vi.advanceTimersByTimeAsync(ms);
  for (let i = 0; i < 20; i++) await new Promise((done) => setImmediate(done));
  await vi.advanceTimersByTimeAsync(0);
}
export const seconds = (n: number) => pass(n * 1000);
export const minutes = (n: number) => pass(n * 60_000);

/** The machine sleeps: the wall clock goes on, nothing else does. */
export async function sleep(ms: number, authority = world.authority) {
  vi.setSystemTime(Date.now() + ms);
  const now = authority.now;
  authority.now = () => now() + ms / 1000;
}
/** Somebody sets the clock. */
export const setClock = (ms: number) => vi.setSystemTime(Date.now() + ms);

export const alice = { login: "alice@test", password: "correct" };

export async function signedIn(tab: Tab = world.browser.tab(), o: Parameters<Tab["client"]>[0] = {}) {
  const client = tab.client(o);
  await pass(200);
  const r = await client.signIn(alice);
  if (!r.ok) throw new Error(r.error.message);
  await pass(400);
  return { tab, client, session: r.value };
}

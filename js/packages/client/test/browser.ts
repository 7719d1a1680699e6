import { start } from "../src/client.js";
import type { Channel, World } from "../src/env.js";
import type { Client, Events, Options } from "../src/types.js";
import type { Authority } from "./authority.js";

type Nav = "navigate" | "reload" | "back_forward";

/** One browser profile: tabs with an own sessionStorage, one localStorage, and
 * channels between them. Messages and storage events arrive later, as they do. */
export class Browser {
  local = new Map<string, string>();
  tabs: Tab[] = [];
  channels = true;
  localBlocked = false;
  sessionBlocked = false;
  quota = Infinity;
  constructor(readonly authority: Authority) {}

  tab(o: { session?: Map<string, string>; nav?: Nav } = {}): Tab {
    const tab = new Tab(this, new Map(o.session), o.nav ?? "navigate");
    this.tabs.push(tab);
    return tab;
  }
}

export class Tab extends EventTarget {
  document = Object.assign(new EventTarget(), { visibilityState: "visible" as DocumentVisibilityState });
  channels: TabChannel[] = [];
  /** A frozen tab hears nothing until it goes on; then all at once. */
  frozen: (() => void)[] | undefined;
  clients: Client[] = [];
  world: World;
  origin = "https://app.test";

  constructor(
    readonly browser: Browser,
    readonly session: Map<string, string>,
    nav: Nav,
  ) {
    super();
    const tab = this;
    this.world = {
      fetch: browser.authority.fetch,
      reportError: (e) => void tab.reported.push(e),
      document: this.document,
      location: { href: "https://app.test/page", origin: "https://app.test" },
      performance: { now: () => performance.now(), getEntriesByType: () => [{ type: nav }] },
      get sessionStorage() {
        if (browser.sessionBlocked) throw new DOMException("denied", "SecurityError");
        return tab.#storage(tab.session);
      },
      get localStorage() {
        if (browser.localBlocked) throw new DOMException("denied", "SecurityError");
        return tab.#storage(browser.local, true);
      },
      ...(browser.channels && {
        BroadcastChannel: class extends TabChannel {
          constructor(name: string) {
            super(tab, name);
          }
        },
      }),
      addEventListener: (t, l, o) => tab.addEventListener(t, l as EventListener, o),
    };
  }
  reported: unknown[] = [];

  #storage(map: Map<string, string>, shared = false) {
    const { browser } = this;
    const changed = (key: string, newValue: string | null) => {
      if (!shared) return;
      for (const t of browser.tabs) if (t !== this) t.later(() => t.dispatchEvent(Object.assign(new Event("storage"), { key, newValue })));
    };
    return {
      getItem: (k: string) => map.get(k) ?? null,
      setItem: (k: string, v: string) => {
        if (v.length > browser.quota) throw new DOMException("full", "QuotaExceededError");
        if (map.get(k) === v) return;
        map.set(k, v);
        changed(k, v);
      },
      removeItem: (k: string) => {
        if (map.delete(k)) changed(k, null);
      },
    };
  }

  later(run: () => void) {
    queueMicrotask(() => (this.frozen ? this.frozen.push(run) : run()));
  }
  freeze() {
    this.frozen = [];
  }
  thaw() {
    const all = this.frozen ?? [];
    this.frozen = undefined;
    return () => all.forEach((f) => f());
  }

  client(o: Partial<Options> = {}): Client & { heard: Heard } {
    const client = start({ url: this.browser.authority.url, ...o }, this.world) as Client & { heard: Heard };
    this.clients.push(client);
    client.heard = listen(client);
    return client;
  }
  show(visibilityState: "visible" | "hidden") {
    this.document.visibilityState = visibilityState;
    this.document.dispatchEvent(new Event("visibilitychange"));
  }
  press() {
    this.dispatchEvent(new Event("keydown"));
  }
  pageshow(persisted: boolean) {
    this.dispatchEvent(Object.assign(new Event("pageshow"), { persisted }));
  }
  /** The tab goes away without a word. */
  crash() {
    this.freeze();
    for (const c of this.clients) c.close();
    this.browser.tabs = this.browser.tabs.filter((t) => t !== this);
  }
  /** Another tab with a copy of this one's sessionStorage. */
  duplicate(nav: Nav = "back_forward") {
    return this.browser.tab({ session: this.session, nav });
  }
  get stored(): string {
    return [...this.session.entries()].join();
  }
}

export class TabChannel implements Channel {
  onmessage: ((e: MessageEvent) => void) | null = null;
  closed = false;
  constructor(
    readonly tab: Tab,
    readonly name: string,
  ) {
    tab.channels.push(this);
  }
  postMessage(message: unknown) {
    if (this.closed) throw new DOMException("closed", "InvalidStateError");
    const data = structuredClone(message);
    for (const t of this.tab.browser.tabs)
      for (const c of t.channels) if (c !== this && c.name === this.name) t.later(() => c.closed || c.onmessage?.({ data } as MessageEvent));
  }
  close() {
    this.closed = true;
  }
}

export type Heard = { [K in keyof Events]: Events[K][] };
const names = ["change", "signedIn", "signedOut", "idleWarning", "idleCancelled", "delivered", "error"] as const;

export function listen(client: Client): Heard {
  const heard = Object.fromEntries(names.map((n) => [n, []])) as unknown as Heard;
  for (const n of names) client.on(n, (e) => void (heard[n] as unknown[]).push(e));
  return heard;
}

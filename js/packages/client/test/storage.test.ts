import { describe, expect, it } from "vitest";
import { alice, fresh, minutes, pass, seconds, setClock, signedIn, world } from "./setup.js";
import type { Options } from "../src/types.js";

fresh();

describe("storage", () => {
  it("session: survives a reload, without asking first", async () => {
    const { tab, session } = await signedIn();
    tab.crash();
    world.authority.delay = 5000;
    const next = world.browser.tab({ session: tab.session, nav: "reload" }).client();
    await pass();
    expect(next.state).toMatchObject({ status: "signedIn", session: { id: session.id, accessToken: session.accessToken } });
    expect(Math.abs(next.state.session!.expiresAt - session.expiresAt)).toBeLessThan(2000);
    expect(next.heard.signedIn).toHaveLength(1);
  });

  it("session: an ordinary reload offline signs nobody out", async () => {
    const { tab } = await signedIn();
    tab.crash();
    world.authority.mode = "down";
    const next = world.browser.tab({ session: tab.session, nav: "reload" }).client();
    await minutes(5);
    expect(next.state.status).toBe("signedIn");
  });

  it("session: nothing is left behind when the tab closes", async () => {
    const { tab } = await signedIn();
    tab.crash();
    const next = world.browser.tab().client();
    await seconds(1);
    expect(next.state.status).toBe("signedOut");
  });

  it("local: another tab and a later one find it", async () => {
    const { tab, session } = await signedIn(world.browser.tab(), { storage: "local" });
    expect(tab.session.size).toBe(0);
    tab.crash();
    const next = world.browser.tab().client({ storage: "local" });
    await pass(400);
    expect(next.state.session?.id).toBe(session.id);
  });

  it("memory: nothing is written, nothing is shared", async () => {
    const { tab } = await signedIn(world.browser.tab(), { storage: "memory" });
    expect(tab.session.size + world.browser.local.size).toBe(0);
    const other = world.browser.tab().client({ storage: "memory" });
    await seconds(1);
    expect(other.state.status).toBe("signedOut");
  });

  it.each(["sync", "async"])("own, %s", async (kind) => {
    const map = new Map<string, string>();
    const maybe = <T>(v: T) => (kind === "async" ? Promise.resolve(v) : v) as T;
    const storage: Options["storage"] = {
      get: (k) => maybe(map.get(k) ?? null),
      set: (k, v) => maybe(void map.set(k, v)),
      remove: (k) => maybe(void map.delete(k)),
    };
    const { tab, session, client } = await signedIn(world.browser.tab(), { storage, key: "mine" });
    expect([...map.keys()].sort()).toEqual(["mine.seen", "mine.session"]);
    tab.crash();
    void client;
    const next = world.browser.tab().client({ storage, key: "mine" });
    await pass(400);
    expect(next.state.session?.id).toBe(session.id);
    expect((await next.refresh()).ok).toBe(true);
    await next.signOut();
    expect(map.size).toBe(0);
  });

  it.each(["session", "local"] as const)("%s, forbidden even to look at: memory, one error, no crash", async (storage) => {
    world.browser.localBlocked = world.browser.sessionBlocked = true;
    const { client } = await signedIn(world.browser.tab(), { storage });
    expect(client.state.status).toBe("signedIn");
    await client.refresh();
    expect(client.heard.error).toMatchObject([{ code: "unexpected" }]);
    world.authority.mode = "down";
    expect((await client.signOut()).ok).toBe(false);
    world.authority.mode = "up";
    await minutes(1);
    expect(client.heard.delivered).toHaveLength(1);
  });

  it("that is full: memory, and no stale token is left in it", async () => {
    const { client, tab } = await signedIn();
    world.browser.quota = 5;
    expect((await client.refresh()).ok).toBe(true);
    expect(tab.stored).not.toContain("cr_");
    expect(client.heard.error).toMatchObject([{ code: "unexpected" }]);
    expect((await client.refresh()).ok).toBe(true);
    expect((await client.signOut()).ok).toBe(true);
    expect(tab.session.size).toBe(0);
  });

  it("that rejects or throws in every call", async () => {
    for (const fail of [() => Promise.reject(new Error("no")), () => { throw new Error("no"); }]) {
      const { client } = await signedIn(world.browser.tab(), { storage: { get: fail, set: fail, remove: fail }, key: `k${Math.floor(performance.now())}` });
      expect((await client.refresh()).ok).toBe(true);
      expect(client.heard.error).toHaveLength(1);
      expect((await client.signOut()).ok).toBe(true);
      expect(client.state.status).toBe("signedOut");
    }
  });

  it.each(["garbage", "null", "[]", '"x"', '{"v":2,"sid":"s"}', '{"v":1}', '{"v":1,"sid":"s","user":{"id":"u"},"access":"a","refresh":"r","logout":"l","n":1,"at":null}'])("ignores %s", async (text) => {
    world.browser.local.set("curfew.out", text);
    world.browser.local.set("curfew.logout", text);
    const session = new Map([["curfew.session", text], ["curfew.seen", text]]);
    const c = world.browser.tab({ session }).client();
    await seconds(1);
    expect(c.state.status).toBe("signedOut");
    expect((await c.signIn(alice)).ok).toBe(true);
    expect((await c.signOut()).ok).toBe(true);
  });

  it("has nothing of one key for another", async () => {
    await signedIn(world.browser.tab(), { key: "a" });
    const other = world.browser.tab().client({ key: "b" });
    await seconds(1);
    expect(other.state.status).toBe("signedOut");
  });
});

describe("a page that may be an old one", () => {
  it("restored after a sign-out in another tab shows nothing", async () => {
    const { tab, client } = await signedIn();
    const copy = new Map(tab.session);
    await client.signOut();
    tab.crash();
    const next = world.browser.tab({ session: copy, nav: "back_forward" }).client();
    await pass();
    expect(next.state).toMatchObject({ status: "signedOut", reason: "user" });
    expect(next.heard.signedIn).toEqual([]);
    expect(world.browser.tabs.at(-1)!.session.size).toBe(0);
  });

  it("restored after a sign-out on another device shows nothing until the authority is asked", async () => {
    const { tab, session } = await signedIn();
    tab.crash();
    world.authority.end(session.id, "user_all");
    world.authority.delay = 300;
    const next = world.browser.tab({ session: tab.session, nav: "back_forward" }).client();
    await pass(400);
    expect(next.state.status).toBe("loading");
    await seconds(1);
    expect(next.state).toMatchObject({ status: "signedOut", reason: "elsewhere" });
    expect(next.heard.signedIn).toEqual([]);
  });

  it("duplicated while the other lives: shown at once, with the other's tokens", async () => {
    const { tab, client } = await signedIn();
    await client.refresh();
    world.authority.mode = "down";
    const twin = tab.duplicate().client();
    await pass(10);
    expect(twin.state.session).toEqual(client.state.session);
  });

  it("duplicated in the moment of signing out", async () => {
    const { tab, client } = await signedIn();
    const twin = tab.duplicate();
    void client.signOut();
    const c = twin.client();
    await seconds(1);
    expect(c.state.status).toBe("signedOut");
    expect(twin.session.size).toBe(0);
  });

  it("restored offline: neither shown nor signed out, until the network is back", async () => {
    const { tab, session } = await signedIn();
    tab.crash();
    world.authority.mode = "down";
    const next = world.browser.tab({ session: tab.session, nav: "back_forward" });
    const c = next.client();
    await minutes(2);
    expect(c.state.status).toBe("loading");
    expect((await c.ready).status).toBe("loading");
    expect(await c.token()).toBeNull();
    world.authority.mode = "up";
    next.dispatchEvent(new Event("online"));
    await seconds(1);
    expect(c.state.session?.id).toBe(session.id);
  });

  it.each([86_400_000, -86_400_000])("reloaded after the clock was set by %i ms: the authority is asked", async (ms) => {
    const { tab, session } = await signedIn();
    tab.crash();
    setClock(ms);
    const next = world.browser.tab({ session: tab.session, nav: "reload" }).client();
    await pass(10);
    expect(next.state.status).toBe("loading");
    await seconds(1);
    expect(next.state.session?.id).toBe(session.id);
    expect(next.state.session!.expiresAt - Date.now()).toBeGreaterThan(7 * 3600_000);
    await minutes(20);
    expect(next.state.status).toBe("signedIn");
  });

  it("opened again after the idle time-out", async () => {
    world.authority.idle = 900;
    const { tab } = await signedIn(world.browser.tab(), { storage: "local" });
    tab.crash();
    await minutes(60);
    const next = world.browser.tab().client({ storage: "local" });
    await pass(10);
    expect(next.state.status).toBe("loading");
    await seconds(1);
    expect(next.state).toMatchObject({ status: "signedOut", reason: "idle" });
    expect(world.browser.local.has("curfew.session")).toBe(false);
  });

  it("from the back/forward cache is checked before anything", async () => {
    const { tab, client, session } = await signedIn();
    tab.dispatchEvent(new Event("pagehide"));
    await seconds(1);
    expect(world.authority.streams.size).toBe(0);
    world.authority.end(session.id, "admin");
    tab.pageshow(true);
    await seconds(1);
    expect(client.heard.signedOut).toEqual([{ reason: "revoked" }]);
  });

  it("from the back/forward cache after a sign-out is signed out at once", async () => {
    const { tab, client } = await signedIn();
    const other = world.browser.tab().client();
    await pass(400);
    tab.dispatchEvent(new Event("pagehide"));
    tab.freeze();
    await other.signOut();
    expect(client.state.status).toBe("signedIn");
    tab.thaw();
    tab.pageshow(true);
    expect(client.state).toMatchObject({ status: "signedOut", reason: "user" });
  });
});

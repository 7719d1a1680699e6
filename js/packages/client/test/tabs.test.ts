import { describe, expect, it, vi } from "vitest";
import { fresh, minutes, pass, seconds, signedIn, world } from "./setup.js";
import { alice } from "./setup.js";

fresh();
const refreshes = () => world.authority.calls("/token").filter((c) => c.form.get("grant_type") === "refresh_token");
async function many(n: number, o: { storage?: "session" | "local" } = {}) {
  const first = await signedIn(world.browser.tab(), o);
  const rest = [];
  for (let i = 1; i < n; i++) {
    vi.mocked(Math.random).mockReturnValue(i / n);
    const tab = world.browser.tab();
    rest.push({ tab, client: tab.client(o) });
  }
  await seconds(1);
  return [first, ...rest];
}

describe("several tabs", () => {
  it("hand a session over to a new one", async () => {
    const [a, b] = await many(2);
    expect(b!.client.state.session).toEqual(a!.client.state.session);
    expect(b!.tab.stored).toContain("cr_");
  });

  it("let a new one wait no longer than 150 ms where there is none", async () => {
    const c = world.browser.tab().client();
    await pass(149);
    expect(c.state.status).toBe("loading");
    await pass(2);
    expect(c.state.status).toBe("signedOut");
  });

  it("do not hand over what is being signed out", async () => {
    const { client } = await signedIn();
    world.authority.mode = "hang";
    void client.signOut();
    const c = world.browser.tab().client();
    await seconds(1);
    expect(c.state.status).toBe("signedOut");
  });

  it.each(["session", "local"] as const)("%s: all are signed out at once, each is told once", async (storage) => {
    const tabs = await many(10, { storage });
    void tabs[4]!.client.signOut();
    await pass();
    for (const { client, tab } of tabs) {
      expect(client.state).toMatchObject({ status: "signedOut", reason: "user" });
      expect(client.heard.signedOut).toEqual([{ reason: "user" }]);
      expect(tab.session.size).toBe(0);
    }
    await minutes(1);
    expect(tabs.flatMap((t) => t.client.heard.signedOut)).toHaveLength(10);
    expect(world.authority.calls("/logout")).toHaveLength(1);
    expect([...world.browser.local.values()].join()).not.toMatch(/cr_|at_|cl_/);
  });

  it("local, without channels: the storage event does it", async () => {
    world.browser.channels = false;
    const [a, b] = await many(2, { storage: "local" });
    expect(b!.client.state.status).toBe("signedIn");
    void a!.client.signOut();
    await pass();
    expect(b!.client.heard.signedOut).toEqual([{ reason: "user" }]);
    await a!.client.signIn(alice);
    await pass();
    expect(b!.client.state.session?.id).toBe(a!.client.state.session!.id);
    expect((await a!.client.refresh()).ok).toBe(true);
    await pass();
    expect(b!.client.state.session?.accessToken).toBe(a!.client.state.session!.accessToken);
  });

  it("session, without channels: a duplicate hears by the mark", async () => {
    world.browser.channels = false;
    const { tab, client } = await signedIn();
    const twin = tab.duplicate().client();
    await seconds(1);
    expect(twin.state.status).toBe("signedIn");
    void client.signOut();
    await pass();
    expect(twin.heard.signedOut).toEqual([{ reason: "user" }]);
  });

  it("all get the tokens that one of them was given", async () => {
    const tabs = await many(3);
    await tabs[1]!.client.refresh();
    await pass();
    expect(new Set(tabs.map((t) => t.client.state.session!.accessToken)).size).toBe(1);
    await seconds(60);
    for (const t of tabs) expect((await t.client.refresh()).ok).toBe(true);
    expect(world.authority.live()).toHaveLength(1);
  });

  it("may refresh at the same moment", async () => {
    const tabs = await many(2);
    world.authority.delay = 100;
    const both = [tabs[0]!.client.refresh(), tabs[1]!.client.refresh()];
    await seconds(1);
    for (const r of both) expect((await r).ok).toBe(true);
    await seconds(30);
    world.authority.delay = 0;
    for (const t of tabs) expect((await t.client.refresh()).ok).toBe(true);
    expect(world.authority.live()).toHaveLength(1);
  });

  it("do not refresh all when one has", async () => {
    await many(10);
    await minutes(9.5);
    expect(refreshes()).toHaveLength(1);
  });

  it.each(["session", "local"] as const)("%s: one signs out while another refreshes", async (storage) => {
    const [a, b] = await many(2, { storage });
    world.authority.delay = 1000;
    const late = b!.client.refresh();
    await pass(500);
    void a!.client.signOut();
    await seconds(5);
    expect((await late).ok).toBe(false);
    for (const t of [a!, b!]) {
      expect(t.client.state).toMatchObject({ status: "signedOut", reason: "user" });
      expect(t.tab.session.size).toBe(0);
    }
    expect(world.browser.local.has("curfew.session")).toBe(false);
    expect(world.authority.live()).toEqual([]);
  });

  it("the same, and the message never arrives: the mark is enough", async () => {
    const [a, b] = await many(2);
    world.authority.delay = 1000;
    const late = b!.client.refresh();
    await pass(500);
    b!.tab.freeze(); // no message, no storage event
    void a!.client.signOut();
    await seconds(5);
    expect((await late).ok).toBe(false);
    expect(b!.client.state).toMatchObject({ status: "signedOut", reason: "user" });
    expect(b!.tab.session.size).toBe(0);
  });

  it("signing in tells those that wait at the login page", async () => {
    const waiting = world.browser.tab().client();
    const { client } = await signedIn();
    expect(waiting.state.session?.id).toBe(client.state.session!.id);
  });

  it("session: two people may be signed in side by side", async () => {
    const { client } = await signedIn();
    const other = world.browser.tab().client();
    await pass(400);
    await other.signOut();
    await pass(400);
    expect(client.state.status).toBe("signedOut");
    await client.signIn(alice);
    await pass(400);
    expect(other.state.session?.user.email).toBe("alice@test");
  });

  it("local: another person signs in, and every tab changes over", async () => {
    const tabs = await many(3, { storage: "local" });
    await tabs[0]!.client.signIn({ login: "bob@test", password: "correct" });
    await pass(100);
    for (const { client } of tabs) {
      expect(client.heard.signedOut).toEqual([{ reason: "replaced" }]);
      expect(client.state.session?.user.email).toBe("bob@test");
      expect((await client.refresh()).ok).toBe(true);
    }
    expect(world.browser.local.get("curfew.session")).toContain("bob@test");
  });

  it("a frozen one has the new tokens before it refreshes", async () => {
    const [a, b] = await many(2);
    b!.tab.freeze();
    await a!.client.refresh();
    await minutes(3);
    await a!.client.refresh();
    await seconds(30);
    const rest = b!.tab.thaw();
    b!.tab.show("visible");
    rest();
    expect((await Promise.all([b!.client.refresh(), pass(300)]))[0].ok).toBe(true);
    expect(world.authority.live()).toHaveLength(1);
  });
});

describe("a tab whose timers stood still", () => {
  it("asks for the newer token before it presents its own", async () => {
    const [a, b] = await many(2);
    b!.tab.freeze();
    await a!.client.refresh();
    await minutes(1);
    // The messages of that minute are lost, as for a page out of the cache.
    b!.tab.thaw();
    const now = performance.now.bind(performance);
    vi.spyOn(performance, "now").mockImplementation(() => now() + 20_000);
    vi.setSystemTime(Date.now() + 20_000);
    const late = b!.client.refresh();
    await seconds(1);
    expect((await late).ok).toBe(true);
    expect(refreshes()).toHaveLength(1);
    expect(b!.client.state.session!.accessToken).toBe(a!.client.state.session!.accessToken);
    expect(world.authority.live()).toHaveLength(1);
  });
});

describe("the stream", () => {
  it("tells at once that the session has ended elsewhere", async () => {
    const { client, session, tab } = await signedIn();
    world.authority.end(session.id, "user_all");
    await pass();
    expect(client.state).toMatchObject({ status: "signedOut", reason: "elsewhere" });
    expect(tab.session.size).toBe(0);
    await minutes(1);
    expect(world.authority.calls("/sessions/events")).toHaveLength(1);
  });

  it("is held by one of ten tabs, and all hear of it", async () => {
    const tabs = await many(10);
    await seconds(20);
    expect(world.authority.streams.size).toBe(1);
    world.authority.end(tabs[0]!.client.state.session!.id, "password_changed");
    await pass();
    for (const t of tabs) expect(t.client.heard.signedOut).toEqual([{ reason: "password_changed" }]);
  });

  it("goes to another tab when its holder closes, soon", async () => {
    const tabs = await many(3);
    tabs[0]!.client.close();
    await seconds(1);
    expect(world.authority.streams.size).toBe(1);
  });

  it("goes to another tab when its holder vanishes or is frozen, after five seconds", async () => {
    const tabs = await many(3);
    await seconds(5);
    tabs[0]!.tab.freeze();
    tabs[0]!.tab.channels.forEach((c) => (c.postMessage = () => {}));
    await seconds(7);
    expect(world.authority.streams.size).toBe(2);
    expect(world.authority.calls("/sessions/events")).toHaveLength(2);
  });

  it("is taken by a tab that can be seen", async () => {
    const [a, b] = await many(2);
    a!.tab.show("hidden");
    b!.tab.show("visible");
    await seconds(5);
    expect(world.authority.calls("/sessions/events")).toHaveLength(2);
    expect(world.authority.streams.size).toBe(1);
    a!.tab.freeze();
    world.authority.end(b!.client.state.session!.id, "admin");
    await pass();
    expect(b!.client.heard.signedOut).toEqual([{ reason: "revoked" }]);
  });

  it("without channels is held by the tabs that can be seen", async () => {
    world.browser.channels = false;
    const [a, b] = await many(2, { storage: "local" });
    expect(world.authority.streams.size).toBe(2);
    b!.tab.show("hidden");
    await seconds(1);
    expect(world.authority.streams.size).toBe(1);
    b!.tab.show("visible");
    await seconds(1);
    expect(world.authority.streams.size).toBe(2);
    void a;
  });

  it("comes again after a cut, with a pause that grows", async () => {
    const { client } = await signedIn();
    world.authority.cut();
    await seconds(3);
    expect(world.authority.streams.size).toBe(1);
    world.authority.modes.set("/sessions/events", 503);
    world.authority.cut();
    await minutes(10);
    expect(world.authority.calls("/sessions/events").length).toBeLessThan(25);
    world.authority.modes.clear();
    await minutes(1);
    expect(world.authority.streams.size).toBe(1);
    expect(client.state.status).toBe("signedIn");
  });

  it("comes again at once when the authority has closed it in order, and not in a loop", async () => {
    await signedIn();
    await seconds(5);
    const close = () => {
      for (const s of [...world.authority.streams]) s.control.close();
      world.authority.streams.clear();
    };
    close(); // its token has expired: what ends meanwhile must be heard
    await vi.advanceTimersByTimeAsync(50);
    expect(world.authority.streams.size).toBe(1);
    for (let i = 0; i < 100; i++) {
      close();
      await vi.advanceTimersByTimeAsync(20);
    }
    expect(world.authority.calls("/sessions/events").length).toBeLessThan(10);
  });

  it("comes again when nothing is heard for too long", async () => {
    await signedIn();
    const [first] = world.authority.streams;
    world.authority.write(first!.control, ": still here\n");
    await seconds(45);
    expect(world.authority.calls("/sessions/events")).toHaveLength(2);
  });

  it("stays while comments arrive", async () => {
    await signedIn();
    for (let i = 0; i < 20; i++) {
      await seconds(15);
      for (const s of world.authority.streams) world.authority.write(s.control, ": still here\n\n");
    }
    expect(world.authority.calls("/sessions/events")).toHaveLength(1);
  });

  it("that is refused with a reason signs out; without one the token is renewed", async () => {
    const { client, session } = await signedIn();
    world.authority.access.get(session.accessToken)!.until = 0;
    world.authority.cut();
    await seconds(5);
    expect(client.state.status).toBe("signedIn");
    expect(refreshes()).toHaveLength(1);
    expect(world.authority.streams.size).toBe(1);
    world.authority.sessions.get(session.id)!.ended = "disabled";
    world.authority.cut();
    await seconds(5);
    expect(client.heard.signedOut).toEqual([{ reason: "disabled" }]);
  });

  it("can be switched off", async () => {
    await signedIn(world.browser.tab(), { events: false });
    expect(world.authority.calls("/sessions/events")).toEqual([]);
  });

  it("ends with the session and with the client", async () => {
    const { client } = await signedIn();
    await client.signOut();
    await seconds(1);
    expect(world.authority.streams.size).toBe(0);
    await client.signIn(alice);
    await seconds(1);
    expect(world.authority.streams.size).toBe(1);
    client.close();
    await pass();
    expect(world.authority.streams.size).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("says nothing about what this browser did itself", async () => {
    const { client } = await signedIn();
    world.authority.delay = 50;
    void client.signOut();
    await seconds(1);
    expect(client.heard.signedOut).toEqual([{ reason: "user" }]);
  });
});

describe("close", () => {
  it("stops everything, and keeps the session", async () => {
    const { client, tab } = await signedIn();
    client.close();
    const n = world.authority.log.length;
    tab.press();
    tab.show("visible");
    tab.pageshow(true);
    await minutes(60);
    expect(world.authority.log).toHaveLength(n);
    expect(vi.getTimerCount()).toBe(0);
    expect(client.state.status).toBe("signedIn");
    expect(tab.stored).toContain("cr_");
  });

  it("still stores the tokens of a refresh that is on its way", async () => {
    const { client, tab } = await signedIn();
    world.authority.delay = 500;
    const r = client.refresh();
    await pass(100);
    client.close();
    await seconds(2);
    expect((await r).ok).toBe(true);
    expect(tab.stored).toContain(client.state.session!.accessToken);
    expect(vi.getTimerCount()).toBe(0);
  });
});

import { describe, expect, it } from "vitest";
import { fresh, minutes, pass, seconds, setClock, signedIn, sleep, world } from "./setup.js";

fresh();
const refreshes = () => world.authority.calls("/token").filter((c) => c.form.get("grant_type") === "refresh_token");

describe("refreshing", () => {
  it("happens before the end, by itself, and does not count as activity", async () => {
    const { client, session } = await signedIn();
    await minutes(7);
    expect(refreshes()).toHaveLength(0);
    await minutes(2);
    expect(refreshes()).toHaveLength(1);
    expect(refreshes()[0]!.form.get("active")).toBe("false");
    expect(client.state.session!.accessToken).not.toBe(session.accessToken);
    expect(client.heard.signedIn).toHaveLength(1);
    await minutes(60);
    expect(refreshes()).toHaveLength(8);
    expect(client.state.status).toBe("signedIn");
  });

  it("says so when the person was active since", async () => {
    world.authority.idle = 3600;
    const { client, tab } = await signedIn();
    tab.press();
    await client.refresh();
    tab.press();
    tab.press();
    await client.refresh();
    await client.refresh();
    expect(refreshes().map((c) => c.form.get("active"))).toEqual(["true", "true", "false"]);
  });

  it("is one request however many ask", async () => {
    const { client } = await signedIn();
    await Promise.all([client.refresh(), client.refresh(), client.refresh()]);
    expect(refreshes()).toHaveLength(1);
    await sleep(700_000);
    const [tokens] = await Promise.all([Promise.all([client.token(), client.token(), client.token()]), seconds(1)]);
    expect(new Set(tokens).size).toBe(1);
    expect(refreshes()).toHaveLength(2);
  });

  it("cannot revive a session that was signed out meanwhile", async () => {
    const { client, tab } = await signedIn();
    world.authority.delay = 1000;
    const late = client.refresh();
    await pass(500);
    const out = client.signOut();
    await seconds(5);
    expect(await late).toMatchObject({ ok: false, error: { code: "signed_out" } });
    expect((await out).ok).toBe(true);
    expect(client.state.status).toBe("signedOut");
    expect(tab.session.size).toBe(0);
    expect(client.heard.signedOut).toEqual([{ reason: "user" }]);
  });

  it("cannot replace the tokens of the next session either", async () => {
    const { client } = await signedIn();
    world.authority.delay = 1000;
    const late = client.refresh();
    await pass(100);
    void client.signOut();
    world.authority.delay = 0;
    const r = await client.signIn({ login: "bob@test", password: "correct" });
    await seconds(3);
    expect((await late).ok).toBe(false);
    expect(client.state.session).toBe(r.ok && r.value);
    expect((await client.refresh()).ok).toBe(true);
    expect(client.state.session?.user.email).toBe("bob@test");
  });

  it("cannot write over a storage that was emptied meanwhile", async () => {
    const { client, tab } = await signedIn();
    world.authority.delay = 1000;
    const late = client.refresh();
    await pass(500);
    tab.session.clear();
    await seconds(5);
    expect((await late).ok).toBe(false);
    expect(client.heard.signedOut).toEqual([{ reason: "user" }]);
    expect(tab.session.size).toBe(0);
    expect(world.authority.live()).toEqual([]);
  });

  it.each([
    ["user", "elsewhere"],
    ["user_others", "elsewhere"],
    ["user_all", "elsewhere"],
    ["token_reuse", "reuse"],
    ["admin", "revoked"],
    ["suspicious", "revoked"],
    ["compromised", "revoked"],
    ["key_revoked", "revoked"],
    ["token_revoked", "revoked"],
    ["password_changed", "password_changed"],
    ["disabled", "disabled"],
    ["deleted", "disabled"],
    ["idle", "idle"],
    ["expired", "expired"],
    ["replaced", "replaced"],
    ["who knows", "unknown"],
    ["", "unknown"],
    ["constructor", "unknown"],
  ])("that is refused because of %j signs out: %s", async (reason, said) => {
    const { client, tab, session } = await signedIn(world.browser.tab(), { events: false });
    if (reason) world.authority.end(session.id, reason);
    else world.authority.sessions.delete(session.id);
    const r = await client.refresh();
    expect(r).toMatchObject({ ok: false, error: { code: "signed_out", ...(reason && { reason: said }) } });
    expect(client.state).toEqual({ status: "signedOut", session: null, reason: said });
    expect(client.heard.signedOut).toEqual([{ reason: said }]);
    expect(tab.session.size).toBe(0);
  });

  it.each(["down", "hang", 500, 503, 429] as const)("that fails with %s keeps the session and tries again, slower each time", async (mode) => {
    const { client } = await signedIn(world.browser.tab(), { events: false });
    world.authority.modes.set("/token", mode);
    await minutes(9);
    const n = refreshes().length;
    expect(n).toBeGreaterThan(1);
    expect(client.state.status).toBe("signedIn");
    expect(client.heard.error.length).toBeGreaterThan(0);
    await minutes(10);
    expect(refreshes().length - n).toBeLessThan(20);
    expect(client.state.status).toBe("signedIn");
    expect((await Promise.all([client.token(), seconds(6)]))[0]).toBeNull();
    world.authority.modes.clear();
    await minutes(1);
    expect(await client.token()).toMatch(/^at_/);
  });

  it("tries again within the time in which a lost answer is repeated", async () => {
    const { client } = await signedIn();
    world.authority.delay = 60_000; // done, but the answer is lost
    const r = client.refresh();
    await seconds(5);
    expect((await r).ok).toBe(false);
    world.authority.delay = 0;
    await seconds(4);
    expect(refreshes()).toHaveLength(2);
    expect((await client.refresh()).ok).toBe(true);
  });

  it("does not take an answer that is none", async () => {
    const { client } = await signedIn(world.browser.tab(), { events: false });
    world.authority.modes.set("/token", 200);
    world.authority.body = "<html>";
    expect(await client.refresh()).toMatchObject({ ok: false, error: { code: "unexpected" } });
    world.authority.body = { access_token: "x" };
    expect(await client.refresh()).toMatchObject({ ok: false, error: { code: "unexpected" } });
    expect(client.state.status).toBe("signedIn");
  });
});

describe("a clock that is wrong", () => {
  it.each([86_400_000, -86_400_000, 3600_000 * 24 * 400])("by %i ms from the start changes nothing", async (ms) => {
    setClock(ms);
    const { client } = await signedIn();
    await minutes(9);
    expect(refreshes()).toHaveLength(1);
    expect(client.state.status).toBe("signedIn");
    await minutes(8 * 60);
    expect(client.heard.signedOut).toEqual([{ reason: "expired" }]);
  });

  it.each([86_400_000, -86_400_000])("that jumps by %i ms signs nobody out", async (ms) => {
    world.authority.idle = 900;
    const { client, tab } = await signedIn();
    await minutes(1);
    tab.press();
    setClock(ms);
    await minutes(1);
    tab.press();
    expect(client.state.status).toBe("signedIn");
    expect(await client.token()).toMatch(/^at_/);
    for (let i = 0; i < 30; i++) {
      await minutes(1);
      tab.press();
    }
    expect(client.heard.signedOut).toEqual([]);
    await minutes(16);
    expect(client.heard.signedOut).toEqual([{ reason: "idle" }]);
  });

  it("shows nothing while it is in doubt", async () => {
    const { client, tab } = await signedIn();
    setClock(86_400_000);
    world.authority.delay = 500;
    tab.press();
    expect(client.state.status).toBe("loading");
    await seconds(3);
    expect(client.state.status).toBe("signedIn");
    expect(client.heard.signedIn).toHaveLength(1);
  });

  it("does not hide that a token is refused: one refresh, one more attempt", async () => {
    const { client, session } = await signedIn(world.browser.tab(), { events: false, allow: ["https://api.test"] });
    world.authority.access.get(session.accessToken)!.until = 0;
    const res = await client.fetch("https://api.test/api/things");
    expect(res.status).toBe(200);
    expect(refreshes()).toHaveLength(1);
    expect(world.authority.resources).toBe(2);
  });
});

describe("sleep", () => {
  it("past the end of the session", async () => {
    const { client } = await signedIn(world.browser.tab(), { events: false });
    await sleep(9 * 3600_000);
    await seconds(10);
    expect(client.heard.signedOut).toEqual([{ reason: "expired" }]);
  });

  it("past the end, and no network: signed out all the same", async () => {
    const { client, tab } = await signedIn();
    world.authority.mode = "down";
    world.authority.cut();
    await sleep(9 * 3600_000);
    await seconds(11);
    expect(client.heard.signedOut).toEqual([{ reason: "expired" }]);
    expect(tab.session.size).toBe(0);
  });

  it("past the idle time-out hides everything at the first key", async () => {
    world.authority.idle = 900;
    const { client, tab } = await signedIn();
    await sleep(3600_000);
    tab.press();
    expect(client.state.status).toBe("loading");
    await seconds(1);
    expect(client.heard.signedOut).toEqual([{ reason: "idle" }]);
  });

  it("past the access token only", async () => {
    const { client, tab } = await signedIn();
    await sleep(3600_000);
    tab.show("visible");
    expect(client.state.status).toBe("signedIn");
    await seconds(1);
    expect(await client.token()).toMatch(/^at_/);
    expect(client.heard.signedOut).toEqual([]);
  });
});

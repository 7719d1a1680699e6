import { describe, expect, it, vi } from "vitest";
import { alice, fresh, minutes, pass, seconds, signedIn, world } from "./setup.js";
import type { State } from "../src/types.js";

fresh();

describe("signing in", () => {
  it("starts as loading and becomes signed out where nothing is stored", async () => {
    const c = world.browser.tab().client();
    expect(c.state).toEqual({ status: "loading", session: null, reason: null });
    await pass(200);
    expect(await c.ready).toEqual({ status: "signedOut", session: null, reason: null });
  });

  it("gives a session without the refresh token", async () => {
    const { client, session, tab } = await signedIn();
    expect(client.state).toMatchObject({ status: "signedIn", session: { id: session.id, user: { email: "alice@test", roles: ["staff"] } } });
    expect(JSON.stringify(client.state)).not.toContain("cr_");
    expect(JSON.stringify(client.state)).not.toContain("cl_");
    expect(session.accessExpiresAt - Date.now()).toBeCloseTo(600_000, -4);
    expect(session.expiresAt - Date.now()).toBeCloseTo(8 * 3600_000, -4);
    expect(client.heard.signedIn).toEqual([{ session }]);
    expect(tab.stored).toContain("cr_");
    expect(world.browser.local.size).toBe(0);
  });

  it("sends neither cookies nor anything to a cache", async () => {
    await signedIn();
    for (const c of world.authority.log) expect(c.init).toMatchObject({ credentials: "omit", cache: "no-store" });
  });

  it("sends a user name as such, and a new password", async () => {
    const { authority } = world;
    authority.passwords.set("alice", "correct");
    const c = world.browser.tab().client({ clientId: "shop" });
    await c.signIn({ login: "alice", password: "correct", newPassword: "better", scope: "read" });
    expect(Object.fromEntries(authority.calls("/token")[0]!.form)).toEqual({
      grant_type: "password", username: "alice", password: "correct", new_password: "better", scope: "read", client_id: "shop",
    });
  });

  it.each([
    [400, { error_code: "invalid_credentials", msg: "Invalid login credentials" }, "invalid_credentials"],
    [400, { error_code: "password_change_required" }, "password_change_required"],
    [400, { error_code: "unknown_client" }, "unexpected"],
    [403, { error_code: "too_many_sessions" }, "too_many_sessions"],
    [422, { error_code: "weak_password" }, "weak_password"],
    [422, { error_code: "same_password" }, "weak_password"],
    [429, { error_code: "too_many_requests" }, "too_many_requests"],
    [429, "not even JSON", "too_many_requests"],
    [500, { error_code: "internal_error" }, "unavailable"],
    [503, null, "unavailable"],
    [200, "<html>hotel</html>", "unexpected"],
    [200, {}, "unexpected"],
  ])("answers %s %j with a value: %s", async (status, body, code) => {
    const c = world.browser.tab().client();
    world.authority.mode = status;
    world.authority.body = body;
    world.authority.retryAfter = "30";
    expect(await c.signIn(alice)).toMatchObject({ ok: false, error: { code, status, ...(status >= 400 && { retryAfter: 30 }) } });
  });

  it("answers a dead network and a silent one with a value", async () => {
    const c = world.browser.tab().client({ timeout: 3000 });
    world.authority.mode = "down";
    expect(await c.signIn(alice)).toMatchObject({ ok: false, error: { code: "network", status: 0 } });
    world.authority.mode = "hang";
    const r = c.signIn(alice);
    await seconds(3);
    expect(await r).toMatchObject({ ok: false, error: { code: "network" } });
  });

  it("discards a sign-in that a second one or a sign-out overtook, and ends what it got", async () => {
    const { authority } = world;
    const c = world.browser.tab().client();
    await pass(200);
    authority.delay = 1000;
    const first = c.signIn(alice);
    await pass(100);
    void c.signOut();
    await seconds(2);
    expect(await first).toMatchObject({ ok: false, error: { code: "signed_out" } });
    expect(c.state.status).toBe("signedOut");
    expect(authority.live()).toEqual([]);
    const a = c.signIn(alice);
    const b = c.signIn({ login: "bob@test", password: "correct" });
    await seconds(3);
    expect((await a).ok).toBe(false);
    expect((await b).ok).toBe(true);
    expect(c.state.session?.user.email).toBe("bob@test");
    expect(authority.live().map((s) => s.user)).toEqual(["bob@test"]);
  });

  it("ends the session of before when somebody else signs in", async () => {
    const { client, session } = await signedIn();
    await client.signIn({ login: "bob@test", password: "correct" });
    await pass(100);
    expect(client.heard.signedOut).toEqual([{ reason: "replaced" }]);
    expect(client.state.session?.user.email).toBe("bob@test");
    expect(client.state.session?.user.id).toBe("u-bob@test");
    expect(world.authority.sessions.get(session.id)!.ended).toBe("user");
  });
});

describe("signing out", () => {
  it("clears everything before anything is awaited", async () => {
    const { client, tab } = await signedIn();
    world.authority.mode = "hang";
    void client.signOut();
    expect(client.state).toEqual({ status: "signedOut", session: null, reason: "user" });
    expect(tab.session.size).toBe(0);
    // and the authority has been asked already, in a request that outlives the page
    const call = world.authority.calls("/logout")[0]!;
    expect(call.init.keepalive).toBe(true);
    expect(call.headers.get("Authorization")).toBeNull();
    expect([...call.form.keys()].sort()).toEqual(["logout_token", "scope"]);
  });

  it("says what the authority did", async () => {
    const { client } = await signedIn();
    expect(await client.signOut()).toMatchObject({
      ok: true, value: { state: "enforced", scope: "local", sessionsEnded: 1, verifiers: 3, tookMs: 7, seq: 42 },
    });
    expect(client.heard.signedOut).toEqual([{ reason: "user" }]);
    expect(await client.token()).toBeNull();
  });

  it("is one when called twice, and harmless when nobody is signed in", async () => {
    const { client } = await signedIn();
    const [a, b] = [client.signOut(), client.signOut()];
    expect(a).toBe(b);
    await pass(100);
    expect(world.authority.calls("/logout")).toHaveLength(1);
    const c = world.browser.tab().client();
    await pass(200);
    expect(await c.signOut()).toMatchObject({ ok: true, value: { sessionsEnded: 0 } });
    expect(c.heard.signedOut).toEqual([]);
  });

  it("reaches all devices, or the others only", async () => {
    const { client } = await signedIn();
    world.authority.login("alice@test");
    world.authority.login("bob@test");
    expect(await client.signOut({ scope: "others" })).toMatchObject({ ok: true, value: { sessionsEnded: 1, scope: "others" } });
    expect(client.state.status).toBe("signedIn");
    world.authority.login("alice@test");
    expect(await client.signOut({ scope: "global" })).toMatchObject({ ok: true, value: { sessionsEnded: 2 } });
    expect(world.authority.live().map((s) => s.user)).toEqual(["bob@test"]);
  });

  it("takes a 401 for success: there is nothing to end any more", async () => {
    const { client } = await signedIn();
    world.authority.modes.set("/logout", 401);
    expect((await client.signOut()).ok).toBe(true);
    expect(world.browser.local.get("curfew.logout")).toBe("{}");
  });

  it("does so while the stored session is still being read", async () => {
    const { tab, session } = await signedIn();
    tab.crash();
    const slow = { get: (k: string) => new Promise<string | null>((d) => setTimeout(() => d(tab.session.get(k) ?? null), 50)), set() {}, remove: (k: string) => void tab.session.delete(k) };
    const c = world.browser.tab().client({ storage: slow });
    const r = c.signOut();
    await seconds(1);
    expect((await r).ok).toBe(true);
    expect(c.state).toMatchObject({ status: "signedOut", reason: "user" });
    expect(tab.session.size).toBe(0);
    expect(world.authority.sessions.get(session.id)!.ended).toBe("user");
  });
});

describe("the authority cannot be told", () => {
  it.each(["down", "hang", 500, 503, 429, 502] as const)("%s: signed out here at once, told later", async (mode) => {
    const { client, tab, session } = await signedIn();
    world.authority.mode = mode;
    const r = client.signOut();
    expect(client.state.status).toBe("signedOut");
    expect(tab.session.size).toBe(0);
    await seconds(10);
    const answer = await r;
    expect(answer.ok).toBe(false);
    expect(world.browser.local.get("curfew.logout")).toContain("cl_");
    expect([...world.browser.local.values()].join()).not.toMatch(/cr_|at_/);
    expect(client.heard.delivered).toEqual([]);
    world.authority.mode = "up";
    await minutes(2);
    expect(world.authority.sessions.get(session.id)!.ended).toBe("user");
    expect(client.heard.delivered).toMatchObject([{ state: "enforced", sessionsEnded: 1 }]);
    expect(world.browser.local.get("curfew.logout")).toBe("{}");
    expect(client.state.status).toBe("signedOut");
  });

  it("tells at once when the network is back", async () => {
    const { client, tab } = await signedIn();
    world.authority.mode = "down";
    await client.signOut({ scope: "global" });
    await minutes(30);
    world.authority.mode = "up";
    tab.dispatchEvent(new Event("online"));
    await seconds(1);
    expect(client.heard.delivered).toMatchObject([{ scope: "global" }]);
  });

  it("tells when the next page is opened", async () => {
    const { client, tab, session } = await signedIn();
    world.authority.mode = "down";
    await client.signOut();
    tab.crash();
    world.authority.mode = "up";
    const next = world.browser.tab().client();
    await seconds(1);
    expect(world.authority.sessions.get(session.id)!.ended).toBe("user");
    expect(next.heard.delivered).toHaveLength(1);
  });

  it("survives a page that is left in the moment of the click", async () => {
    const { client, tab, session } = await signedIn();
    world.authority.mode = "hang"; // the request dies with the page
    void client.signOut();
    tab.crash();
    expect(tab.session.size).toBe(0);
    world.authority.mode = "up";
    world.browser.tab().client();
    await seconds(1);
    expect(world.authority.sessions.get(session.id)!.ended).toBe("user");
  });

  it("waits as long as it is told to", async () => {
    const { client } = await signedIn();
    world.authority.mode = 429;
    world.authority.retryAfter = "120";
    expect(await client.signOut()).toMatchObject({ ok: false, error: { code: "too_many_requests", retryAfter: 120 } });
    await seconds(100);
    expect(world.authority.calls("/logout")).toHaveLength(1);
    await seconds(30);
    expect(world.authority.calls("/logout")).toHaveLength(2);
  });

  it("does not believe a hotel's login page", async () => {
    const { client } = await signedIn();
    world.authority.mode = 200;
    world.authority.body = "<html>";
    expect(await client.signOut()).toMatchObject({ ok: false, error: { code: "unexpected" } });
    world.authority.mode = "up";
    await seconds(10);
    expect(world.authority.live()).toEqual([]);
  });
});

describe("listening", () => {
  it("keeps the state the same object until it changes", async () => {
    const { client } = await signedIn();
    const { state } = client;
    const seen: State[] = [];
    const stop = client.subscribe(() => seen.push(client.state));
    await minutes(5);
    expect(client.state).toBe(state);
    await client.refresh();
    expect(client.state).not.toBe(state);
    expect(seen).toEqual([client.state]);
    stop();
    await client.signOut();
    expect(seen).toHaveLength(1);
  });

  it("does not suffer from a listener that throws", async () => {
    const { client, tab } = await signedIn();
    const after = vi.fn();
    client.on("signedOut", () => {
      throw new Error("theirs");
    });
    const stop = client.on("signedOut", after);
    client.on("signedOut", () => stop());
    expect((await client.signOut()).ok).toBe(true);
    expect(after).toHaveBeenCalledExactlyOnceWith({ reason: "user" });
    expect(tab.reported).toEqual([new Error("theirs")]);
  });

  it("may sign out in the moment of signing in", async () => {
    const c = world.browser.tab().client();
    await pass(200);
    c.on("signedIn", () => void c.signOut());
    const r = await c.signIn(alice);
    await pass(100);
    expect(r.ok).toBe(false);
    expect(c.state.status).toBe("signedOut");
    expect(world.authority.live()).toEqual([]);
    expect(world.authority.streams.size).toBe(0);
  });
});

describe("the account", () => {
  it("lists the devices", async () => {
    const { client, session } = await signedIn();
    const other = world.authority.login("alice@test", "phone");
    expect(await client.sessions.list()).toMatchObject({
      ok: true,
      value: [
        { id: session.id, device: "Chrome on Linux", userAgent: "Mozilla", ip: "192.0.2.1", createdAt: "2026-11-20T10:30:00Z", lastSeenAt: "2026-11-20T10:31:00Z", current: true },
        { id: other.id, clientId: "phone", current: false },
      ],
    });
    expect(await client.sessions.end(other.id)).toMatchObject({ ok: true, value: { sessionsEnded: 1 } });
    expect(await client.sessions.end("no-such")).toMatchObject({ ok: false, error: { code: "unexpected", status: 404 } });
    world.authority.login("alice@test");
    expect(await client.sessions.endOthers()).toMatchObject({ ok: true, value: { sessionsEnded: 1 } });
    expect(await client.sessions.end(session.id)).toMatchObject({ ok: true });
    expect(client.state).toMatchObject({ status: "signedOut", reason: "user" });
    expect(await client.sessions.list()).toMatchObject({ ok: false, error: { code: "signed_out" } });
  });

  it("changes the password and keeps this session, with new tokens", async () => {
    const { client, session } = await signedIn();
    world.authority.login("alice@test");
    expect(await client.changePassword({ current: "wrong", password: "new password" })).toMatchObject({ ok: false, error: { code: "reauthentication_required" } });
    expect(await client.changePassword({ current: "correct", password: "new" })).toMatchObject({ ok: false, error: { code: "weak_password" } });
    expect(client.state.status).toBe("signedIn");
    expect(await client.changePassword({ current: "correct", password: "new password", keepCurrent: true })).toMatchObject({ ok: true });
    expect(client.state.session).toMatchObject({ id: session.id, user: { email: "alice@test" } });
    expect(client.state.session!.accessToken).not.toBe(session.accessToken);
    expect((await client.refresh()).ok).toBe(true);
    expect(world.authority.live()).toHaveLength(1);
  });

  it("changes the password and ends this session too", async () => {
    const { client } = await signedIn();
    expect(await client.changePassword({ current: "correct", password: "new password" })).toMatchObject({ ok: true });
    await pass(100);
    expect(client.heard.signedOut).toEqual([{ reason: "password_changed" }]);
  });
});

import { describe, expect, it } from "vitest";
import { fresh, minutes, pass, seconds, signedIn, world } from "./setup.js";

fresh();
const reports = () => world.authority.calls("/sessions/current").filter((c) => !c.headers.has("Curfew-Background"));

describe("the idle time-out", () => {
  it("warns with a count-down, then signs out without asking", async () => {
    world.authority.idle = 900;
    const { client } = await signedIn();
    await seconds(838);
    expect(client.heard.idleWarning).toEqual([]);
    const asked = world.authority.calls("/sessions/current").length;
    await seconds(61);
    const all = client.heard.idleWarning.map((w) => w.secondsLeft);
    expect(all[0]).toBe(60);
    expect(all).toEqual([...new Set(all)].sort((a, b) => b - a));
    expect(all.length).toBeGreaterThan(55);
    await seconds(2);
    expect(client.heard.signedOut).toEqual([{ reason: "idle" }]);
    expect(world.authority.calls("/sessions/current")).toHaveLength(asked);
    expect(world.authority.calls("/logout")).toHaveLength(1);
    expect(client.heard.idleCancelled).toEqual([]);
  });

  it("may be shorter here than at the authority, and the warning with it", async () => {
    world.authority.idle = 900;
    const { client, session } = await signedIn(world.browser.tab(), { idleTimeout: 60, idleWarning: 20 });
    expect(session.idleTimeout).toBe(60_000);
    await seconds(45);
    expect(client.heard.idleWarning.at(-1)!.secondsLeft).toBeLessThanOrEqual(20);
    await seconds(20);
    expect(client.heard.signedOut).toEqual([{ reason: "idle" }]);
    await pass();
    expect(world.authority.live()).toEqual([]);
  });

  it("does not exist where nobody asks for it", async () => {
    const { client, session } = await signedIn();
    expect(session.idleTimeout).toBe(0);
    await minutes(7 * 60);
    expect(client.state.status).toBe("signedIn");
  });

  it("is put off by what the person does, and the authority hears of it now and then", async () => {
    world.authority.idle = 900;
    const { client, tab } = await signedIn();
    for (let i = 0; i < 60 * 4; i++) {
      await seconds(15);
      tab.press();
    }
    expect(client.state.status).toBe("signedIn");
    // an hour has 16 quarters of the time-out; refreshes have told some
    expect(reports().length).toBeLessThanOrEqual(16);
    expect(world.authority.live()).toHaveLength(1);
    await seconds(895);
    expect(client.state.status).toBe("signedIn");
    expect(world.authority.live()).toHaveLength(1); // not earlier there than here
    await seconds(6);
    expect(client.heard.signedOut).toEqual([{ reason: "idle" }]);
  });

  it("is not put off by refreshing, polling and being looked at", async () => {
    world.authority.idle = 900;
    const { client, tab } = await signedIn(world.browser.tab(), { allow: ["https://api.test"] });
    for (let i = 0; i < 15; i++) {
      await seconds(55);
      await client.fetch("https://api.test/api/news");
      await client.refresh();
      tab.show("hidden");
      tab.show("visible");
    }
    expect(reports()).toEqual([]);
    await seconds(80);
    expect(client.heard.signedOut).toEqual([{ reason: "idle" }]);
  });

  it("counts what is done in any tab", async () => {
    world.authority.idle = 300;
    const { client, tab } = await signedIn();
    const other = world.browser.tab();
    const second = other.client();
    await pass(400);
    for (let i = 0; i < 20; i++) {
      await minutes(1);
      other.press();
    }
    expect(client.state.status).toBe("signedIn");
    expect(client.heard.idleWarning).toEqual([]);
    await seconds(250);
    expect(client.heard.idleWarning.length).toBeGreaterThan(0);
    expect(second.heard.idleWarning.length).toBeGreaterThan(0);
    tab.press();
    await pass();
    expect(client.heard.idleCancelled).toHaveLength(1);
    expect(second.heard.idleCancelled).toHaveLength(1);
    await minutes(5.1);
    expect(client.heard.signedOut).toEqual([{ reason: "idle" }]);
    expect(second.heard.signedOut).toEqual([{ reason: "idle" }]);
  });

  it("is put off by stayActive", async () => {
    world.authority.idle = 300;
    const { client } = await signedIn();
    await seconds(290);
    expect(client.heard.idleWarning.length).toBeGreaterThan(0);
    client.stayActive();
    expect(client.heard.idleCancelled).toEqual([{}]);
    await pass();
    expect(reports()).toHaveLength(1);
    await seconds(290);
    expect(client.state.status).toBe("signedIn");
  });

  it("cannot be put off after it is over", async () => {
    world.authority.idle = 300;
    const { client, tab } = await signedIn();
    tab.show("hidden");
    const now = performance.now();
    // The timers of a hidden tab are late; the key comes first.
    performance.now = () => now + 301_000;
    Date.now = () => new Date("2026-11-20T10:10:00Z").getTime();
    tab.press();
    expect(client.state.status).not.toBe("signedIn");
  });

  it("of a frozen tab waits for what the others know", async () => {
    world.authority.idle = 300;
    const { tab, client } = await signedIn();
    const other = world.browser.tab();
    other.client();
    await pass(400);
    tab.freeze();
    for (const c of tab.channels) c.onmessage = ((f) => (e: MessageEvent) => f?.(e))(c.onmessage);
    client.close(); // its timers stand still
    for (let i = 0; i < 10; i++) {
      await minutes(1);
      other.press();
    }
    // Discarded and loaded again by the browser: it asks before it decides.
    const again = world.browser.tab({ session: tab.session, nav: "reload" }).client();
    await seconds(2);
    expect(again.state.status).toBe("signedIn");
    expect(world.authority.live()).toHaveLength(1);
  });

  it("goes on over a reload", async () => {
    world.authority.idle = 900;
    const { tab } = await signedIn();
    await seconds(400);
    tab.press();
    await seconds(100);
    tab.crash();
    const next = world.browser.tab({ session: tab.session, nav: "reload" }).client();
    await seconds(795);
    expect(next.state.status).toBe("signedIn");
    await seconds(10);
    expect(next.heard.signedOut).toEqual([{ reason: "idle" }]);
  });
});

describe("the absolute end", () => {
  it("comes by itself", async () => {
    world.authority.life = 3600;
    const { client } = await signedIn();
    await minutes(59);
    expect(client.state.status).toBe("signedIn");
    await minutes(1.2);
    expect(client.heard.signedOut).toEqual([{ reason: "expired" }]);
  });
});

// A logout while the network, or the authority, does not play along. The person
// is signed out here at once in each case; the authority hears of it later.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { alice, isActive, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { device, launch, until } from "../src/chromium.js";
import { address, enter, heard, open, startFixture, status, storage, stored } from "../src/client.js";
import type { Site } from "../src/site.js";
import { startProxy } from "../src/proxy.js";
import type { Fault, Proxy } from "../src/proxy.js";

let browser: Browser;
let authority: Authority;
let site: Site;
let proxy: Proxy;
beforeAll(async () => {
  [browser, authority, site] = await Promise.all([launch(), startDev(), startFixture()]);
  proxy = await startProxy(authority.url);
});
afterAll(async () => {
  await browser?.close();
  await Promise.all([proxy?.close(), authority?.stop(), site?.close()]);
});
beforeEach(async () => {
  proxy.fault = undefined;
  proxy.seen.length = 0;
  await authority.operator("logout", "--user", alice.login);
});

const failing = (fault: Fault) => (proxy.fault = ({ path }) => (path === "/logout" ? fault : undefined));

/** Signs out and looks, before anything is awaited, at what is left here. */
const signOut = (page: Page) =>
  page.evaluate(async () => {
    const pending = client.signOut();
    const left = JSON.stringify([{ ...sessionStorage }, { ...localStorage }]);
    const shown = document.getElementById("private")!.textContent;
    const result = await pending;
    return { result, left, shown, status: client.state.status };
  });

/** No token that opens anything is left; the one that can only log out may be. */
const expectGone = ({ left, shown, status }: Awaited<ReturnType<typeof signOut>>, tokens: { access: string; refresh: string }) => {
  expect(shown).toBe("");
  expect(status).toBe("signedOut");
  expect(left).not.toContain(tokens.access);
  expect(left).not.toContain(tokens.refresh);
};

test("offline: the logout is kept, and delivered when the network is back", async () => {
  const context = await device(browser);
  const page = await open(context, address(site, { url: proxy.url }));
  await enter(page);
  const tokens = await stored(page);
  await context.setOffline(true);
  const out = await signOut(page);
  expectGone(out, tokens);
  expect(out.result).toMatchObject({ ok: false, error: { code: "network" } });
  expect(await isActive(authority, tokens.refresh), "the authority cannot know yet").toBe(true);

  await context.setOffline(false);
  await until(async () => (await heard(page, "delivered")).length === 1, "the delivery");
  expect(await isActive(authority, tokens.access)).toBe(false);
  expect(await isActive(authority, tokens.refresh)).toBe(false);
  expect(await storage(page)).not.toContain(tokens.logout);
});

test("offline, and the tab is closed: the next page of this browser delivers it", async () => {
  const context = await device(browser);
  const page = await open(context, address(site, { url: proxy.url }));
  await enter(page);
  const tokens = await stored(page);
  await page.route(proxy.url + "/**", (route) => route.abort());
  expectGone(await signOut(page), tokens);
  await page.close();
  const next = await open(context, address(site, { url: proxy.url }));
  expect(await status(next)).toBe("signedOut");
  await until(async () => !(await isActive(authority, tokens.refresh)), "the delivery");
  await until(async () => !(await storage(next)).includes(tokens.logout), "the end of what was kept");
});

test("the page is left in the moment of the logout: it arrives all the same", async () => {
  const context = await device(browser);
  const page = await open(context, address(site, { url: proxy.url }));
  await enter(page);
  const tokens = await stored(page);
  failing({ before: 300 });
  await page.evaluate(() => {
    void client.signOut();
    location.href = "about:blank";
  });
  await until(async () => !(await isActive(authority, tokens.refresh)), "the logout");
});

describe.each<[string, Fault, object]>([
  ["500", { status: 500, body: "{}" }, { code: "unavailable", status: 500 }],
  ["429", { status: 429, headers: { "Retry-After": "1", "Access-Control-Expose-Headers": "Retry-After" }, body: "{}" }, { code: "too_many_requests", status: 429 }],
  ["503", { status: 503, body: "{}" }, { code: "unavailable", status: 503 }],
  ["never", "hang", { code: "network", status: 0 }],
  ["with a broken connection", "drop", { code: "network", status: 0 }],
  ["with a broken connection, after it was carried out", "lose", { code: "network", status: 0 }],
])("the authority answers %s", (_, fault, error) => {
  test("local state is gone at once, the person is told, and the authority hears of it later", async () => {
    const page = await open(await device(browser), address(site, { url: proxy.url, timeout: 500 }));
    await enter(page);
    const tokens = await stored(page);
    failing(fault);
    const out = await signOut(page);
    expectGone(out, tokens);
    expect(out.result).toMatchObject({ ok: false, error });
    expect(await heard(page, "signedOut")).toMatchObject([{ reason: "user" }]);

    proxy.fault = undefined;
    await until(async () => (await heard(page, "delivered")).length === 1, "the delivery");
    expect(await isActive(authority, tokens.access)).toBe(false);
    expect(await isActive(authority, tokens.refresh)).toBe(false);
    expect(await storage(page)).not.toContain(tokens.logout);
  });
});

test("the authority answers 401: there is nothing left to end, and nothing is kept", async () => {
  const page = await open(await device(browser), address(site, { url: proxy.url }));
  await enter(page);
  const tokens = await stored(page);
  failing({ status: 401, body: "{}" });
  const out = await signOut(page);
  expectGone(out, tokens);
  expect(out.result).toMatchObject({ ok: true, value: { sessionsEnded: 0 } });
  expect(await storage(page)).not.toContain(tokens.logout);
});

test("the network is away for a while: nobody is signed out by that, and the session goes on", async () => {
  const context = await device(browser);
  const page = await open(context, address(site, { url: proxy.url }));
  await enter(page);
  await context.setOffline(true);
  expect(await page.evaluate(() => client.refresh())).toMatchObject({ ok: false, error: { code: "network" } });
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  expect(await status(page)).toBe("signedIn");
  await context.setOffline(false);
  await until(async () => (await page.evaluate(() => client.refresh())).ok, "the refresh");
});

test("a session that ended while the browser was offline is gone when it is back", async () => {
  const context = await device(browser);
  const page = await open(context, address(site, { url: proxy.url }));
  await enter(page);
  await context.setOffline(true);
  await authority.operator("logout", "--user", alice.login);
  await context.setOffline(false);
  await page.waitForFunction(() => client.state.status === "signedOut");
  expect(await heard(page, "signedOut")).toMatchObject([{ reason: "revoked" }]);
});

test("a connection that breaks is opened again: the next end is heard as ever", async () => {
  const page = await open(await device(browser), address(site, { url: proxy.url }));
  await enter(page);
  await until(() => proxy.streams.open === 1, "the stream");
  proxy.cut();
  await until(() => proxy.streams.open === 1, "the next stream");
  await authority.operator("logout", "--user", alice.login);
  await page.waitForFunction(() => client.state.status === "signedOut", null, { timeout: 1000 });
});

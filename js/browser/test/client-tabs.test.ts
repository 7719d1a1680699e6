// Several tabs and several devices of one person.

import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { alice, devForTest, isActive, liveSessions, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { describeTimes, device, discard, launch, median, until } from "../src/chromium.js";
import { address, enter, heard, open, reasonOut, settled, startFixture, status, storage, stored } from "../src/client.js";
import type { Site } from "../src/site.js";
import { startProxy } from "../src/proxy.js";
import type { Proxy } from "../src/proxy.js";

const RUNS = 5;

let browser: Browser;
let authority: Authority;
let site: Site;
let proxy: Proxy;
beforeAll(async () => {
  [browser, authority, site] = await Promise.all([
    launch({ ignoreDefaultArgs: ["--disable-back-forward-cache"] }),
    startDev(),
    startFixture(),
  ]);
  proxy = await startProxy(authority.url);
});
afterAll(async () => {
  await browser?.close();
  await Promise.all([proxy?.close(), authority?.stop(), site?.close()]);
});
beforeEach(async () => {
  proxy.fault = undefined;
  await authority.operator("logout", "--user", alice.login);
  proxy.seen.length = 0;
});

const shared = () => address(site, { url: proxy.url, storage: "local" });

async function signedIn(context: BrowserContext, url = shared()): Promise<Page> {
  const page = await open(context, url);
  await enter(page);
  return page;
}

/** A tab that finds the session of another one. */
async function joined(context: BrowserContext, url = shared()): Promise<Page> {
  const page = await open(context, url);
  expect(await status(page)).toBe("signedIn");
  return page;
}

/** When a tab was signed out. */
const outAt = async (page: Page) => (await heard(page, "signedOut"))[0]!.at;

describe("a logout on one device is seen on the other in less than 300 ms", () => {
  test("as the event signedOut, with the reason elsewhere", async () => {
    const times: number[] = [];
    for (let i = 0; i < RUNS; i++) {
      const [here, there] = [await device(browser), await device(browser)];
      const left = await signedIn(there);
      await until(() => proxy.streams.open === 1, "the stream of events");
      const page = await open(here, address(site, { url: authority.url, events: false }));
      await enter(page);
      // The clock starts when the page that ends it has its answer.
      const answered = await page.evaluate(async () => {
        await client.signOut({ scope: "others" });
        return Date.now();
      });
      expect(await reasonOut(left)).toBe("elsewhere");
      times.push((await outAt(left)) - answered);
      expect(await left.locator("#private").textContent()).toBe("");
      await page.evaluate(() => client.signOut());
      await Promise.all([discard(here), discard(there)]);
      await until(() => proxy.streams.open === 0, "the end of the stream");
    }
    console.log(describeTimes("client, logout elsewhere → signedOut", times));
    expect(median(times)).toBeLessThan(300);
  });

  test("by the operator's command, with the reason revoked", async () => {
    const times: number[] = [];
    for (let i = 0; i < RUNS; i++) {
      const context = await device(browser);
      const page = await signedIn(context);
      await until(() => proxy.streams.open === 1, "the stream of events");
      await authority.operator("logout", "--authority", proxy.url, "--user", alice.login);
      const answered = proxy.seen.findLast(({ path }) => path.startsWith("/admin/"))!.answeredAt!;
      expect(await reasonOut(page)).toBe("revoked");
      times.push((await outAt(page)) - answered);
      await discard(context);
      await until(() => proxy.streams.open === 0, "the end of the stream");
    }
    console.log(describeTimes("client, operator's logout → signedOut", times));
    expect(median(times)).toBeLessThan(300);
  });
});

test("two tabs that refresh at the same moment are both live, with one session and no reuse", async () => {
  const quick = await devForTest({ accessLife: "2s" });
  const proxy = await startProxy(quick.url);
  onTestFinished(() => proxy.close());
  const context = await device(browser);
  const url = address(site, { url: proxy.url, storage: "local" });
  const one = await signedIn(context, url);
  const two = await joined(context, url);
  proxy.fault = ({ path }) => (path === "/token" ? { before: 300 } : undefined); // both are on their way
  const results = await Promise.all([one, two].map((tab) => tab.evaluate(() => client.refresh().then((r) => r.ok))));
  expect(results).toEqual([true, true]);
  proxy.fault = undefined;
  // And on they go, by themselves, for more than another life of a token.
  const { access } = await stored(one, "local");
  await until(async () => (await stored(one, "local")).access !== access, "the next refresh");
  for (const tab of [one, two]) {
    expect(await tab.evaluate((url) => client.fetch(url + "/demo/employees").then((r) => r.status), proxy.url)).toBe(200);
    expect(await heard(tab, "signedOut")).toEqual([]);
  }
  expect(await liveSessions(quick)).toHaveLength(1);
});

test("a logout in one tab while the other one refreshes ends both, and the late answer revives nothing", async () => {
  const context = await device(browser);
  const one = await signedIn(context);
  const two = await joined(context);
  const before = await stored(one, "local");
  proxy.seen.length = 0;
  proxy.fault = ({ path }) => (path === "/token" ? { after: 800 } : undefined);
  const late = two.evaluate(() => client.refresh().then((r) => r.ok));
  await until(() => proxy.calls("POST", "/token").length > 0, "the refresh on its way");
  expect(await one.evaluate(() => client.signOut())).toMatchObject({ ok: true });
  expect(await late).toBe(false);
  for (const tab of [one, two]) {
    expect(await status(tab)).toBe("signedOut");
    expect(await tab.locator("#private").textContent()).toBe("");
  }
  expect(await storage(one)).not.toMatch(/eyJ|"access"/);
  const after = proxy.calls("POST", "/token").flatMap(({ answer }) => (answer ? [JSON.parse(answer) as { access_token?: string; refresh_token?: string }] : []));
  for (const token of [before.access, before.refresh, ...after.flatMap((a) => [a.access_token, a.refresh_token])]) {
    if (token) expect(await isActive(authority, token)).toBe(false);
  }
});

test("ten tabs have one stream of events between them, and all sign out within a second", async () => {
  const context = await device(browser);
  const tabs = [await signedIn(context)];
  for (let i = 1; i < 10; i++) tabs.push(await joined(context));
  await until(() => proxy.streams.open === 1, "one stream");
  proxy.streams.most = 0;
  const started = Date.now();
  const answers = await Promise.all(tabs.map((tab) => tab.evaluate((url) => client.fetch(url + "/demo/employees").then((r) => r.status), proxy.url)));
  expect(answers).toEqual(Array(10).fill(200));
  console.log(`client, ten tabs load their data at once: ${Date.now() - started} ms`);

  const answered = await tabs[4]!.evaluate(async () => {
    await client.signOut();
    return Date.now();
  });
  const times: number[] = [];
  for (const tab of tabs) {
    expect(await reasonOut(tab, 2000)).toBe("user");
    times.push((await outAt(tab)) - answered);
  }
  console.log(describeTimes("client, logout → signedOut in ten tabs", times));
  expect(Math.max(...times)).toBeLessThan(1000);
  expect(proxy.streams.most).toBeLessThanOrEqual(1);
});

test("ten tabs are all signed out within a second of a logout on another device", async () => {
  const context = await device(browser);
  const tabs = [await signedIn(context)];
  for (let i = 1; i < 10; i++) tabs.push(await joined(context));
  await until(() => proxy.streams.open === 1, "one stream");
  await authority.operator("logout", "--authority", proxy.url, "--user", alice.login);
  const answered = proxy.seen.findLast(({ path }) => path.startsWith("/admin/"))!.answeredAt!;
  const times: number[] = [];
  for (const tab of tabs) {
    expect(await reasonOut(tab, 2000)).toBe("revoked");
    times.push((await outAt(tab)) - answered);
  }
  console.log(describeTimes("client, operator's logout → signedOut in ten tabs", times));
  expect(Math.max(...times)).toBeLessThan(1000);
});

test("when the tab with the stream is closed another one opens it", async () => {
  const context = await device(browser);
  const one = await signedIn(context);
  const two = await joined(context);
  await until(() => proxy.streams.open === 1, "one stream");
  await one.close();
  await until(() => proxy.streams.open === 0, "the end of the first").catch(() => null); // it may be quick
  await until(() => proxy.streams.open === 1, "the next stream");
  await authority.operator("logout", "--user", alice.login);
  expect(await reasonOut(two, 1000)).toBe("revoked");
});

test("with session storage a new tab is given the session by the others, and is signed out with them", async () => {
  const context = await device(browser);
  const url = address(site, { url: proxy.url, storage: "session" });
  const one = await signedIn(context, url);
  const two = await joined(context, url);
  expect(await storage(two)).toContain("curfew.session");
  await two.evaluate(() => client.signOut());
  expect(await reasonOut(one, 1000)).toBe("user");
  const three = await open(context, url);
  expect(await status(three)).toBe("signedOut");
});

test("without BroadcastChannel the storage event tells the other tabs", async () => {
  const context = await device(browser);
  await context.addInitScript(() => Reflect.deleteProperty(window, "BroadcastChannel"));
  // And without the stream of events, which would tell them as well.
  const url = address(site, { url: proxy.url, storage: "local", events: false });
  const one = await signedIn(context, url);
  const two = await joined(context, url);
  const answered = await one.evaluate(async () => {
    await client.signOut();
    return Date.now();
  });
  expect(await reasonOut(two, 2000)).toBe("user");
  expect((await outAt(two)) - answered).toBeLessThan(1000);
  expect(await two.locator("#private").textContent()).toBe("");
});

describe("after the logout nothing private comes back", () => {
  test.each(["session", "local"] as const)("in a duplicated tab, in one made later, or in a restored one: %s storage", async (where) => {
    const context = await device(browser);
    const url = address(site, { url: proxy.url, storage: where });
    const page = await signedIn(context, url);
    const [twin] = await Promise.all([page.waitForEvent("popup"), page.evaluate(() => void window.open(location.href))]);
    await twin.getByText("Private to").waitFor();
    await page.evaluate(() => client.signOut());
    expect(await reasonOut(twin, 1000)).toBe("user");
    const [late] = await Promise.all([page.waitForEvent("popup"), page.evaluate(() => void window.open(location.href))]);
    await settled(late);
    await page.close();
    const restored = await open(context, url);
    for (const tab of [twin, late, restored]) {
      expect(await status(tab)).toBe("signedOut");
      expect(await tab.locator("#private").textContent()).toBe("");
      expect(await storage(tab)).not.toMatch(/eyJ/);
    }
  });

  test("a tab restored with its old session storage, after a logout elsewhere in the browser, shows nothing", async () => {
    const context = await device(browser);
    const url = address(site, { url: proxy.url, storage: "session" });
    const page = await signedIn(context, url);
    const old = await page.evaluate(() => ({ ...sessionStorage }));
    await page.evaluate(() => client.signOut());
    await page.close();
    const restored = await context.newPage();
    await restored.addInitScript((old) => Object.entries(old).forEach(([k, v]) => sessionStorage.setItem(k, v)), old);
    const painted: string[] = [];
    await restored.exposeFunction("painted", (text: string) => void painted.push(text));
    await restored.addInitScript(() => {
      new MutationObserver(() => {
        const text = document.getElementById("private")?.textContent;
        if (text) (window as unknown as { painted(text: string): void }).painted(text);
      }).observe(document, { subtree: true, childList: true, characterData: true });
    });
    await restored.goto(url);
    await settled(restored);
    expect(await status(restored)).toBe("signedOut");
    expect(painted).toEqual([]);
    expect(await storage(restored)).not.toMatch(/eyJ/);
  });

  test("with Back and Forward, also from the back/forward cache", async () => {
    const context = await device(browser);
    const page = await signedIn(context);
    await page.evaluate((url) => {
      addEventListener("pageshow", ({ persisted }) => {
        const seen = () => document.getElementById("private")!.textContent;
        if (!persisted) return;
        navigator.sendBeacon(url + "/restored");
        requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => seen() && navigator.sendBeacon(url + "/private"), 1000)));
      });
    }, proxy.url);
    await page.goto(site.url + "/client/index.js");
    const other = await joined(context);
    await other.evaluate(() => client.signOut());
    const cdp = await context.newCDPSession(page);
    onTestFinished(() => cdp.detach().catch(() => {}));
    const { currentIndex, entries } = await cdp.send("Page.getNavigationHistory");
    await cdp.send("Page.navigateToHistoryEntry", { entryId: entries[currentIndex - 1]!.id });
    await until(async () => (await page.evaluate(() => globalThis.client?.state.status).catch(() => null)) === "signedOut", "the end of the session");
    expect(await page.locator("#private").textContent()).toBe("");
    expect(proxy.calls("POST", "/private")).toEqual([]);
    console.log(`client, restored from the back/forward cache: ${proxy.calls("POST", "/restored").length > 0}`);
  });
});

test("a password that is changed on another device signs out here, and says so", async () => {
  const own = await devForTest();
  const left = await signedIn(await device(browser), address(site, { url: own.url }));
  const here = await signedIn(await device(browser), address(site, { url: own.url }));
  const changed = await here.evaluate((current) => client.changePassword({ current, password: "another-demo-password", keepCurrent: true }), alice.password);
  expect(changed).toMatchObject({ ok: true, value: { sessionsEnded: 1 } });
  expect(await reasonOut(left, 1000)).toBe("password_changed");
  expect(await status(here)).toBe("signedIn");
  expect(await here.evaluate((url) => client.fetch(url + "/demo/employees").then((r) => r.status), own.url)).toBe(200);
});

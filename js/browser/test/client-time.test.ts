// Sessions that end by themselves: inactivity, the absolute limit, and sleep.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { devForTest, isActive, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { device, launch, until } from "../src/chromium.js";
import { address, enter, heard, open, reasonOut, settled, startFixture, status, storage, stored } from "../src/client.js";
import type { Site } from "../src/site.js";

let browser: Browser;
let site: Site;
let idle: Authority;
beforeAll(async () => {
  [browser, site, idle] = await Promise.all([launch(), startFixture(), startDev({ idleTimeout: "6s" })]);
});
afterAll(() => Promise.all([browser?.close(), site?.close(), idle?.stop()]));

const warned = async (page: Page) => (await heard(page, "idleWarning")).map(({ secondsLeft }) => secondsLeft);

describe("inactivity", () => {
  test("is warned of with a count-down, and ends the session here and at the authority", async () => {
    const page = await open(await device(browser), address(site, { url: idle.url, storage: "local" }));
    await enter(page);
    const tokens = await stored(page, "local");
    expect(await reasonOut(page, 15_000)).toBe("idle");
    expect(await warned(page)).toEqual([3, 2, 1]);
    expect(await page.locator("#private").textContent()).toBe("");
    expect(await storage(page)).not.toMatch(/eyJ/);
    await until(async () => !(await isActive(idle, tokens.refresh)), "the end at the authority");
  });

  test("is none while somebody types, in any tab; and the answer to the warning counts", async () => {
    const context = await device(browser);
    const url = address(site, { url: idle.url, storage: "local" });
    const quiet = await open(context, url);
    await enter(quiet);
    const busy = await open(context, url);
    const end = Date.now() + 8000; // longer than the time-out
    while (Date.now() < end) {
      await busy.keyboard.press("a");
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
    expect(await warned(quiet)).toEqual([]);
    expect(await heard(busy, "signedOut")).toEqual([]);

    for (const tab of [quiet, busy]) await until(async () => (await warned(tab)).length > 0, "the warning");
    await quiet.evaluate(() => client.stayActive());
    expect(await heard(quiet, "idleCancelled")).toHaveLength(1);
    await until(async () => (await heard(busy, "idleCancelled")).length === 1, "the same in the other tab");
    expect(await isActive(idle, (await stored(quiet, "local")).refresh)).toBe(true);
    expect(await status(quiet)).toBe("signedIn");
  });

  test("can be limited by the client alone; the authority is told", async () => {
    const authority = await devForTest();
    const page = await open(await device(browser), address(site, { url: authority.url, idleTimeout: 2, idleWarning: 1 }));
    await enter(page);
    const { refresh } = await stored(page);
    expect(await reasonOut(page)).toBe("idle");
    expect(await warned(page)).toEqual([1]);
    await until(async () => !(await isActive(authority, refresh)), "the end at the authority");
  });
});

describe("the absolute limit", () => {
  test("signs out at the second, and the reason is expired", async () => {
    const authority = await devForTest({ lifetime: "3s", accessLife: "2s" });
    const page = await open(await device(browser), address(site, { url: authority.url }));
    await enter(page);
    const started = Date.now();
    expect(await reasonOut(page)).toBe("expired");
    const took = (await heard(page, "signedOut"))[0]!.at - started;
    expect(took).toBeGreaterThan(1500);
    expect(took).toBeLessThan(3500);
    expect(await storage(page)).not.toMatch(/eyJ/);
  });

  test("is noticed at once by a tab that slept past it", async () => {
    const authority = await devForTest({ lifetime: "3s", accessLife: "2s" });
    const context = await device(browser);
    const page = await open(context, address(site, { url: authority.url }));
    await enter(page);
    const cdp = await context.newCDPSession(page);
    await cdp.send("Page.setWebLifecycleState", { state: "frozen" });
    await new Promise((resolve) => setTimeout(resolve, 4000)); // sleep is a matter of time alone
    await cdp.send("Page.setWebLifecycleState", { state: "active" });
    const woken = Date.now();
    expect(await reasonOut(page, 2000)).toBe("expired");
    expect((await heard(page, "signedOut"))[0]!.at - woken).toBeLessThan(1000);
    expect(await page.locator("#private").textContent()).toBe("");
  });

  test("is noticed at once when the computer wakes up: the wall clock is ahead, and no timer has run", async () => {
    const authority = await devForTest();
    const context = await device(browser);
    const page = await context.newPage();
    await page.clock.install();
    await page.goto(address(site, { url: authority.url, storage: "local" }));
    await settled(page);
    await enter(page);
    await authority.operator("logout", "--everybody", "--yes"); // while it sleeps nobody hears of that
    await page.clock.fastForward(31 * 24 * 3600 * 1000);
    await page.clock.resume();
    await until(async () => (await status(page)) === "signedOut", "the end of the session");
    expect(await page.locator("#private").textContent()).toBe("");
    expect(await storage(page)).not.toMatch(/eyJ/);
  });

  test("is noticed when a tab is opened that was closed long before it", async () => {
    const authority = await devForTest({ lifetime: "2s", accessLife: "2s" });
    const context = await device(browser);
    const url = address(site, { url: authority.url, storage: "local" });
    const page = await open(context, url);
    await enter(page);
    await page.close();
    await new Promise((resolve) => setTimeout(resolve, 2200));
    const again = await open(context, url);
    expect(await status(again)).toBe("signedOut");
    expect(await storage(again)).not.toMatch(/eyJ/);
  });
});

// After a sign-out nothing private can be brought back on this computer.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { alice, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { device, launch, signIn } from "../src/chromium.js";
import { startProxy } from "../src/proxy.js";
import type { Proxy } from "../src/proxy.js";

let browser: Browser;
let authority: Authority;
let proxy: Proxy;
beforeAll(async () => {
  // Playwright switches the back/forward cache off. People have it.
  [browser, authority] = await Promise.all([launch({ ignoreDefaultArgs: ["--disable-back-forward-cache"] }), startDev()]);
  proxy = await startProxy(authority.url);
});
afterAll(async () => {
  await browser?.close();
  await proxy?.close();
  await authority?.stop();
});
beforeEach(async () => {
  await authority.operator("logout", "--user", alice.login);
  proxy.seen.length = 0;
});

const secret = "Lamplighter";

/** A tab with data, which tells the proxy if it is shown again as it was. */
async function loaded(javaScriptEnabled = true): Promise<Page> {
  const context = await device(browser, { javaScriptEnabled });
  const page = await context.newPage();
  await signIn(page, proxy.url, "/demo?load=1");
  await page.getByRole("row").filter({ hasText: secret }).waitFor();
  if (!javaScriptEnabled) return page;
  await page.evaluate((secret) => {
    addEventListener("pageshow", ({ persisted }) => {
      if (persisted) navigator.sendBeacon("/restored");
      requestAnimationFrame(() => {
        if (document.body.innerText.includes(secret)) navigator.sendBeacon("/painted");
      });
    });
  }, secret);
  return page;
}

/** Playwright's own goBack waits for a load, which the cache does without. */
async function go(page: Page, delta: number) {
  const session = await page.context().newCDPSession(page);
  const { currentIndex, entries } = await session.send("Page.getNavigationHistory");
  const entry = entries[currentIndex + delta];
  if (!entry) throw new Error(`there is nothing ${delta} steps away`);
  await session.send("Page.navigateToHistoryEntry", { entryId: entry.id });
  await session.detach();
}

async function expectNothing(page: Page) {
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  expect(await page.content()).not.toContain(secret);
  expect(proxy.calls("POST", "/painted"), "the data was painted").toEqual([]);
}

describe.each([
  { with: "with JavaScript", javaScriptEnabled: true },
  { with: "without JavaScript", javaScriptEnabled: false },
])("$with", ({ javaScriptEnabled }) => {
  test("Back and Forward after Log Off show the login page, not the data", async () => {
    const page = await loaded(javaScriptEnabled);
    await page.goto(proxy.url + "/account");
    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.waitForURL(/\/login/);
    for (const step of [-1, -1, 1, 1, -2]) {
      await go(page, step);
      await expectNothing(page);
    }
  });

  test("Back after a logout in another tab shows the login page", async () => {
    const page = await loaded(javaScriptEnabled);
    await page.goto("data:text/html,somewhere else");
    const other = await page.context().newPage();
    await other.goto(proxy.url + "/account");
    await other.getByRole("button", { name: "Sign out", exact: true }).click();
    await other.waitForURL(/\/login/);
    await go(page, -1);
    await expectNothing(page);
  });

  test("a restored tab asks to sign in", async () => {
    const page = await loaded(javaScriptEnabled);
    const context = page.context();
    const url = page.url();
    await page.getByRole("button", { name: "Log Off" }).click();
    await page.waitForURL(/\/login/);
    await page.close();
    const again = await context.newPage();
    await again.goto(url);
    await expectNothing(again);
  });
});

// Without JavaScript this one cannot be had: Chromium keeps pages that say
// no-store for three minutes as long as no cookie of theirs changes, and nobody
// has told this browser that the session is over.
test("Back after a logout on another device shows the login page, also from the back/forward cache", async () => {
  const page = await loaded();
  await page.goto("data:text/html,somewhere else");
  await authority.operator("logout", "--user", alice.login);
  await go(page, -1);
  await expectNothing(page);
  console.log(`pages, restored from the back/forward cache: ${proxy.calls("POST", "/restored").length > 0}`);
});

test("a duplicated tab is signed out with its original, and one made later shows the login page", async () => {
  const page = await loaded();
  const [twin] = await Promise.all([page.waitForEvent("popup"), page.evaluate(() => void window.open(location.href))]);
  await twin.getByRole("row").filter({ hasText: secret }).waitFor();
  await page.getByRole("button", { name: "Log Off" }).click();
  await expectNothing(page);
  await expectNothing(twin);
  const [late] = await Promise.all([page.waitForEvent("popup"), page.evaluate((url) => void window.open(url), proxy.url + "/demo?load=1")]);
  await expectNothing(late);
});

test("what pages of the authority have stored is cleared at the sign-out", async () => {
  const page = await loaded();
  await page.evaluate(() => {
    localStorage.setItem("draft", "private");
    sessionStorage.setItem("draft", "private");
  });
  await page.getByRole("button", { name: "Log Off" }).click();
  await page.waitForURL(/\/login/);
  expect(await page.evaluate(() => [localStorage.length, sessionStorage.length])).toEqual([0, 0]);
});

test("when somebody else signs in on this computer, tabs of the one before show nothing of theirs", async () => {
  const page = await loaded();
  const left = await page.context().newPage();
  await left.goto(proxy.url + "/demo?load=1");
  await signIn(page, proxy.url);
  // The new person's page, or the login page with their name on it.
  await left.getByText(secret).first().waitFor({ state: "detached" });
  await left.getByRole("heading", { name: /Sign in|Employees/ }).waitFor();
});

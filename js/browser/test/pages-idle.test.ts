// Whoever does nothing is warned, and then signed out.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { alice, isActive, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { device, launch, sessionCookie, signIn, until } from "../src/chromium.js";
import { startProxy } from "../src/proxy.js";

let browser: Browser;
let authority: Authority;
beforeAll(async () => {
  [browser, authority] = await Promise.all([launch(), startDev({ idleTimeout: "4s" })]);
});
afterAll(() => Promise.all([browser?.close(), authority?.stop()]));
beforeEach(() => authority.operator("logout", "--user", alice.login));

const warning = (page: Page) => page.getByRole("dialog", { name: "Are you still there?" });

test("inactivity is warned of with a count-down and ends visibly", async () => {
  const page = await (await device(browser)).newPage();
  await signIn(page, authority.url, "/demo?load=1");
  const cookie = await sessionCookie(page.context());
  await warning(page).waitFor();
  const counted = new Set<string>();
  await until(async () => {
    const text = await page.getByRole("timer").textContent({ timeout: 500 }).catch(() => null);
    if (text) counted.add(text);
    return new URL(page.url()).pathname === "/login";
  }, "the login page", 15_000);
  expect([...counted]).toEqual(expect.arrayContaining(["1 s"]));
  await page.getByText("You were signed out because nothing happened here for a while.").waitFor();
  expect(await page.content()).not.toContain("Lamplighter");
  expect(await isActive(authority, cookie)).toBe(false);
});

test("the answer to the warning keeps the session, at the server too", async () => {
  const page = await (await device(browser)).newPage();
  await signIn(page, authority.url, "/demo?load=1");
  await warning(page).waitFor();
  const warned = Date.now();
  await page.getByRole("button", { name: "Stay signed in" }).click();
  await warning(page).waitFor({ state: "hidden" });
  await until(async () => (await page.title()) === "Employees · Curfew", "the title of before");
  await warning(page).waitFor(); // the next one
  expect(Date.now() - warned).toBeGreaterThan(1000);
  await page.getByRole("button", { name: "Sign out now" }).click();
  await page.waitForURL(/\/login/);
});

test("work in one tab keeps the warning from all tabs", async () => {
  const context = await device(browser);
  const [busy, quiet] = [await context.newPage(), await context.newPage()];
  await signIn(busy, authority.url, "/demo?load=1");
  await quiet.goto(authority.url + "/demo?load=1");
  const end = Date.now() + 6000; // longer than the time-out
  for (let i = 0; Date.now() < end; i++) {
    await busy.mouse.move(100 + (i % 50), 100);
    expect(await warning(quiet).isVisible()).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  expect(await isActive(authority, await sessionCookie(context))).toBe(true);
});

test("when the time is over and the authority cannot be asked, nothing private is shown until it can", async () => {
  const proxy = await startProxy(authority.url);
  onTestFinished(() => proxy.close());
  const context = await device(browser);
  const page = await context.newPage();
  await signIn(page, proxy.url, "/demo?load=1");
  proxy.fault = () => "drop";
  await page.getByRole("row").filter({ hasText: "Lamplighter" }).waitFor({ state: "hidden" });
  expect(await page.locator("main").isVisible()).toBe(false);
  proxy.fault = undefined;
  await page.getByText("You were signed out because nothing happened here for a while.").waitFor();
});

// The example with @curfew/react, as it is built for production and, in strict
// mode, for development, where React runs every effect twice.

import { join } from "node:path";
import type { Browser, BrowserContext, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, onTestFinished, test } from "vitest";
import { agents } from "../src/agents.js";
import { alice, isActive, liveSessions, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { violations } from "../src/axe.js";
import { describeTimes, device, launch, until, watch } from "../src/chromium.js";
import { startProxy } from "../src/proxy.js";
import type { Proxy } from "../src/proxy.js";
import { placeholder } from "../src/setup.js";
import { startSite } from "../src/site.js";
import type { Site } from "../src/site.js";

let browser: Browser;
let authority: Authority;
let proxy: Proxy;
const sites: Record<string, Site> = {};
beforeAll(async () => {
  [browser, authority] = await Promise.all([launch(), startDev()]);
  proxy = await startProxy(authority.url);
  for (const build of ["react", "react-development"]) {
    sites[build] = await startSite({}, { "/": join(inject("scratch"), build) }, { [placeholder]: proxy.url });
  }
});
afterAll(async () => {
  await browser?.close();
  await Promise.all([proxy?.close(), authority?.stop(), ...Object.values(sites).map((site) => site.close())]);
});
beforeEach(async () => {
  proxy.fault = undefined;
  await authority.operator("logout", "--user", alice.login);
  proxy.seen.length = 0;
});

const app = (page: Page) => ({
  menu: page.getByRole("banner").getByRole("button", { name: "Sign out" }),
  item: (name: string) => page.getByRole("menuitem", { name, exact: true }),
  row: page.getByRole("row").filter({ hasText: "Lamplighter" }),
  status: (text: string | RegExp) => page.getByRole("status").filter({ hasText: text }),
  login: page.getByRole("heading", { name: "Sign in" }),
});

async function signIn(page: Page, url: string) {
  await page.goto(url);
  await page.getByRole("button", { name: "Fill in" }).click();
  await page.getByRole("button", { name: "Sign in" }).click();
  await app(page).menu.waitFor();
}

const focused = (page: Page) =>
  page.evaluate(() => {
    const e = document.activeElement as HTMLElement;
    return e.getAttribute("aria-label") ?? e.textContent?.trim() ?? "";
  });

/** The page does not wait for the authority, so this may come a moment later. */
const ended = () => until(async () => (await liveSessions(authority)).length === 0, "the end at the authority");

/** The tokens in this tab. */
const tokens = (page: Page) =>
  page.evaluate(() => JSON.parse(sessionStorage.getItem("curfew-react-app.session") ?? "null") as { access: string; refresh: string } | null);

describe.each(["react", "react-development"])("built as %s", (build) => {
  const open = async (options: BrowserContextOptions = {}, path = "/"): Promise<Page> => {
    const page = await (await device(browser, options)).newPage();
    await signIn(page, sites[build]!.url + path);
    return page;
  };

  test("somebody signs in, sees the data, and signs out on this device", async () => {
    const page = await (await device(browser)).newPage();
    const trouble = await watch(page, sites[build]!.url);
    await page.goto(sites[build]!.url);
    await page.getByLabel("E-mail or user name").fill(alice.login);
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").filter({ hasText: "do not belong together" }).waitFor();
    expect(await page.getByRole("row").count()).toBe(0);
    await page.getByLabel("Password").fill(alice.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await app(page).row.waitFor();
    const before = (await tokens(page))!;

    await app(page).menu.click();
    await app(page).item("This device").click();
    await app(page).login.waitFor();
    await app(page).status("Signed out. Refused everywhere after").waitFor();
    expect(await page.content()).not.toContain("Lamplighter");
    expect(await tokens(page)).toBe(null);
    await ended();
    expect(await isActive(authority, before.access)).toBe(false);
    expect(await isActive(authority, before.refresh)).toBe(false);
    expect(trouble.errors).toEqual([]);
    expect(trouble.foreign.filter((url) => !url.startsWith(proxy.url))).toEqual([]);
  });

  test("each thing happens once, however often effects run", async () => {
    const page = await open();
    await app(page).row.waitFor();
    await until(() => proxy.streams.open === 1, "the stream of events");
    expect(proxy.calls("POST", "/token")).toHaveLength(1);
    expect(await liveSessions(authority)).toHaveLength(1);
    await page.reload();
    await app(page).row.waitFor();
    await until(() => proxy.streams.open === 1, "the stream of events");
    expect(await liveSessions(authority)).toHaveLength(1);
    await app(page).menu.click();
    await app(page).item("This device").click();
    await app(page).status("Signed out.").waitFor();
    // The page is told before the authority is.
    await until(() => proxy.calls("POST", "/logout").length > 0, "the logout");
    await until(() => proxy.streams.open === 0, "the end of the stream");
    await ended();
    expect(proxy.calls("POST", "/logout")).toHaveLength(1);
  });

  test("all devices: the other one shows why, in less than 300 ms", async () => {
    const here = await open({ userAgent: agents.firefox });
    const there = await open({ userAgent: agents.iphone });
    await there.evaluate(() => {
      new MutationObserver(() => {
        const w = window as unknown as { outAt?: number };
        if (document.querySelector("input[name=login]")) w.outAt ??= Date.now();
      }).observe(document.body, { subtree: true, childList: true });
    });
    await until(() => proxy.streams.open === 2, "two streams of events");
    await app(here).menu.click();
    await app(here).item("All devices").click();
    await app(here).status("Signed out on 2 devices.").waitFor();
    await app(there).status("You were signed out here from another device.").waitFor();
    const took = (await there.evaluate(() => (window as unknown as { outAt: number }).outAt)) - proxy.calls("POST", "/logout").at(-1)!.answeredAt!;
    console.log(describeTimes(`${build}, logout elsewhere → sign-in page`, [took]));
    expect(took).toBeLessThan(300);
    expect(await there.content()).not.toContain("Lamplighter");
  });

  test("the menu is used with the keyboard", async () => {
    const page = await open();
    await app(page).menu.focus();
    await page.keyboard.press("ArrowDown");
    await app(page).item("This device").waitFor();
    expect(await app(page).menu.getAttribute("aria-expanded")).toBe("true");
    const steps: [string, string][] = [["ArrowDown", "All devices"], ["End", "All other devices"], ["ArrowDown", "This device"], ["ArrowUp", "All other devices"], ["Home", "This device"], ["a", "All devices"]];
    for (const [key, name] of steps) {
      await page.keyboard.press(key);
      await until(async () => (await focused(page)) === name, `${key} leads to ${name}`, 2000);
    }
    await page.keyboard.press("Escape");
    await app(page).item("This device").waitFor({ state: "hidden" });
    expect(await focused(page)).toBe("Sign out");
    await page.keyboard.press("Enter");
    await app(page).item("This device").waitFor();
    await page.keyboard.press("Tab");
    await app(page).item("This device").waitFor({ state: "hidden" });
    await app(page).menu.focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    await app(page).login.waitFor();
    await ended();
  });

  test("the confirmation keeps the focus inside, Escape gives it back, and only Yes signs out", async () => {
    const page = await open({}, "/#/devices");
    const button = page.getByRole("main").getByRole("button", { name: "Sign out everywhere" });
    const dialog = page.getByRole("dialog", { name: "Sign out everywhere?" });
    for (const dismiss of ["Escape", "Cancel", "beside"] as const) {
      await button.focus();
      await page.keyboard.press("Enter");
      await dialog.waitFor();
      expect(await focused(page), "the harmless button comes first").toBe("Cancel");
      for (let i = 0; i < 5; i++) {
        await page.keyboard.press(i % 2 ? "Shift+Tab" : "Tab");
        expect(await page.evaluate(() => document.activeElement === document.body || !!document.activeElement?.closest("dialog"))).toBe(true);
      }
      if (dismiss === "Escape") await page.keyboard.press("Escape");
      else if (dismiss === "Cancel") await dialog.getByRole("button", { name: "Cancel" }).click();
      else await page.mouse.click(5, 5);
      await dialog.waitFor({ state: "hidden" });
      expect(await focused(page), `the focus after ${dismiss}`).toBe("Sign out everywhere");
    }
    expect(proxy.calls("POST", "/logout")).toEqual([]);
    await button.click();
    await dialog.getByRole("button", { name: "Sign out everywhere" }).click();
    await app(page).login.waitFor();
    await ended();
  });

  test("the list of devices: end one, then all others, and the address stays after the next sign-in", async () => {
    const there = await open({ userAgent: agents.iphone });
    const third = await open({ userAgent: agents.chrome });
    const here = await open({ userAgent: agents.firefox }, "/#/devices");
    const items = here.getByRole("main").getByRole("listitem");
    await items.nth(2).waitFor();
    expect(await items.first().textContent()).toContain("This device");
    await items.filter({ hasText: "iPhone" }).getByRole("button").click();
    await app(here).status("Signed out. Refused everywhere after").waitFor();
    await app(there).login.waitFor();
    await until(async () => (await items.count()) === 2, "the shorter list");
    await here.getByRole("button", { name: "Sign out all other devices" }).click();
    await app(third).login.waitFor();
    await until(async () => (await items.count()) === 1, "the list of one");

    await authority.operator("logout", "--user", alice.login);
    await app(here).status("An administrator signed you out.").waitFor();
    expect(await items.count()).toBe(0);
    await here.getByRole("button", { name: "Fill in" }).click();
    await here.getByRole("button", { name: "Sign in" }).click();
    await here.getByRole("heading", { name: "Your devices" }).waitFor();
  });

  test("inactivity: a modal warning counts down, Escape stays, and the second time nobody is there", async () => {
    const page = await open({}, "/?idle=4");
    const dialog = page.getByRole("alertdialog", { name: "Are you still there?" });
    await dialog.waitFor();
    expect(await focused(page)).toBe("Stay signed in");
    expect(await dialog.getByRole("timer").textContent()).toMatch(/^0:0[12]$/);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    await dialog.waitFor();
    await app(page).status("You were signed out because nothing happened here for a while.").waitFor();
    await dialog.waitFor({ state: "hidden" });
    await ended();
  });

  test("a logout that the authority cannot hear is said to be kept, and delivered later", async () => {
    const page = await open();
    await page.context().setOffline(true);
    await app(page).menu.click();
    await app(page).item("This device").click();
    await app(page).status(/^You are signed out here\./).waitFor();
    await page.context().setOffline(false);
    await app(page).status("The server has now been told that you signed out.").waitFor();
    await ended();
  });

  test("Back after the logout shows nothing", async () => {
    const page = await open();
    await app(page).row.waitFor();
    await page.goto(sites[build]!.url + "/#/devices");
    await app(page).menu.click();
    await app(page).item("This device").click();
    await app(page).login.waitFor();
    await page.goBack();
    await app(page).login.waitFor();
    expect(await page.content()).not.toContain("Lamplighter");
    expect(await page.getByRole("banner").count()).toBe(0);
  });
});

const looks: Record<string, BrowserContextOptions> = {
  "light, desktop": { colorScheme: "light", viewport: { width: 1280, height: 800 } },
  "dark, desktop": { colorScheme: "dark", viewport: { width: 1280, height: 800 } },
  "light, phone": { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  "dark, phone": { colorScheme: "dark", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
};
test.each(Object.entries(looks))("axe-core finds nothing in any view: %s", { timeout: 60_000 }, async (_, look) => {
  const found: Record<string, string[]> = {};
  const check = async (page: Page, state: string) => {
    const list = await violations(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) list.push(`the page is ${wide} pixels wider than the screen`);
    if (list.length > 0) found[state] = list;
  };
  const url = sites.react!.url;
  const other = await device(browser, { userAgent: agents.iphone });
  const context: BrowserContext = await device(browser, { ...look, userAgent: agents.firefox });
  const page = await context.newPage();
  onTestFinished(() => page.close());
  await page.goto(url);
  await app(page).login.waitFor();
  await check(page, "sign in");
  await page.getByLabel("E-mail or user name").fill(alice.login);
  await page.getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").filter({ hasText: "belong" }).waitFor();
  await check(page, "sign in with a problem");
  await signIn(await other.newPage(), url);
  await signIn(page, url);
  await app(page).row.waitFor();
  await check(page, "employees");
  await app(page).menu.click();
  await check(page, "menu");
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Devices" }).click();
  await page.getByRole("listitem").filter({ hasText: "iPhone" }).waitFor();
  await check(page, "devices");
  await page.getByRole("button", { name: "Sign out everywhere" }).click();
  await page.getByRole("dialog").waitFor();
  await check(page, "confirmation");
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: /^Sign out Safari/ }).click();
  await app(page).status("Signed out.").waitFor();
  await check(page, "devices with a receipt");
  await page.clock.install();
  await page.goto(url + "/?idle=600");
  await app(page).row.waitFor();
  await page.clock.fastForward("09:20");
  await page.getByRole("alertdialog").waitFor();
  await check(page, "idle warning");
  await page.clock.resume();
  await page.getByRole("button", { name: "Sign out now" }).click();
  await app(page).login.waitFor();
  await app(page).status("Signed out.").waitFor();
  await check(page, "sign in with a notice");
  expect(found).toEqual({});
});

// The authority's pages are for everybody: no finding of axe-core in any state,
// and a keyboard is enough.

import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { agents } from "../src/agents.js";
import { alice, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { violations } from "../src/axe.js";
import { device, launch, signIn, watch } from "../src/chromium.js";
import { startSite } from "../src/site.js";

let browser: Browser;
let authority: Authority;
beforeAll(async () => {
  [browser, authority] = await Promise.all([launch(), startDev({ idleTimeout: "10m" })]);
});
afterAll(() => Promise.all([browser?.close(), authority?.stop()]));
beforeEach(() => authority.operator("logout", "--user", alice.login));

const looks: Record<string, BrowserContextOptions> = {
  "light, desktop": { colorScheme: "light", viewport: { width: 1280, height: 800 } },
  "dark, desktop": { colorScheme: "dark", viewport: { width: 1280, height: 800 } },
  "light, phone": { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
  "dark, phone": { colorScheme: "dark", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
};

describe.each(Object.entries(looks))("axe-core finds nothing: %s", (_, look) => {
  /** Everything that was found, by state. */
  const found: Record<string, string[]> = {};
  const states: string[] = [];
  async function check(page: Page, state: string) {
    states.push(state);
    const list = await violations(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (wide > 0) list.push(`the page is ${wide} pixels wider than the screen`);
    if (list.length > 0) found[state] = list;
  }

  test("in any state of the pages", { timeout: 60_000 }, async () => {
    const context = await device(browser, { ...look, userAgent: agents.firefox });
    const page = await context.newPage();
    const trouble = await watch(page, authority.url);

    await page.goto(authority.url + "/login");
    await check(page, "login");
    await page.getByLabel("E-mail or user name").fill(alice.login);
    await page.getByLabel("Password", { exact: true }).fill("wrong");
    await page.getByRole("button", { name: "Show password" }).click();
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    await check(page, "login with a problem");
    await page.goto(authority.url + "/login?reason=user_all&login=alice%40example.com");
    await check(page, "login after an end");
    await page.goto(authority.url + "/login?reason=token_reuse");
    await check(page, "login after a serious end");

    await signIn(page, authority.url);
    await check(page, "account with 1 device");
    await page.goto(authority.url + "/signout");
    await check(page, "signout with 1 device");
    await page.goto(authority.url + "/login");
    await check(page, "login while signed in");
    for (const userAgent of [agents.iphone, agents.chrome]) {
      await signIn(await (await device(browser, { userAgent })).newPage(), authority.url);
    }
    await page.goto(authority.url + "/signout");
    await check(page, "signout with 3 devices");
    await page.goto(authority.url + "/account");
    for (const details of await page.locator("summary").all()) await details.click();
    await check(page, "account with 3 devices and their details");
    await page.getByRole("button", { name: "Sign out everywhere" }).click();
    await page.getByRole("dialog").waitFor();
    await check(page, "confirmation");
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByRole("button", { name: /^Sign out Safari/ }).click();
    await page.getByRole("status").filter({ hasText: "Signed out on 1 device" }).waitFor();
    await check(page, "account with a notice");
    await page.getByLabel("Current password", { exact: true }).fill("wrong");
    await page.getByLabel("New password", { exact: true }).fill("wrong as well");
    await page.getByRole("button", { name: "Change password" }).click();
    await page.getByRole("alert").waitFor();
    await check(page, "account with a wrong password");

    await page.goto(authority.url + "/demo");
    await check(page, "demo");
    await page.getByRole("button", { name: "Load employees" }).click();
    await page.getByRole("row").filter({ hasText: "Lamplighter" }).waitFor();
    await check(page, "demo with data");

    await page.clock.install();
    await page.goto(authority.url + "/demo?load=1");
    await page.clock.fastForward("09:05");
    await page.getByRole("dialog", { name: "Are you still there?" }).waitFor();
    await page.clock.resume();
    await check(page, "idle warning");
    await page.getByRole("button", { name: "Sign out now" }).click();
    await page.waitForURL(/\/login/);
    await check(page, "login with a notice");

    const site = await startSite({ "/": `<form method=post action="${authority.url}/signout"><button>go</button></form>` });
    onTestFinished(() => site.close());
    await page.goto(site.elsewhere);
    await page.getByRole("button", { name: "go" }).click();
    await page.getByRole("heading", { name: "That did not come from here" }).waitFor();
    await check(page, "message");

    expect(found).toEqual({});
    console.log(`pages, axe-core: ${states.length} states without a finding`);
    expect(trouble.errors).toEqual([]);
    expect(trouble.csp).toEqual([]);
  });

  test("when a new password is asked for", async () => {
    const name = `new-${Math.random().toString(36).slice(2)}@example.com`;
    authority.tell("first-password", "users", "add", name, "--password-stdin");
    authority.tell("second-password", "users", "set-password", name, "--password-stdin", "--must-change");
    const page = await (await device(browser, look)).newPage();
    await page.goto(authority.url + "/login");
    await page.getByLabel("E-mail or user name").fill(name);
    await page.getByLabel("Password", { exact: true }).fill("second-password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Choose a new password" }).waitFor();
    await check(page, "new password");
    expect(found).toEqual({});
    await page.getByLabel("Current password", { exact: true }).fill("second-password");
    await page.getByLabel("New password", { exact: true }).fill("third-password");
    await page.getByRole("button", { name: "Change password and sign in" }).click();
    await page.waitForURL(authority.url + "/account");
  });
});

describe("with the keyboard alone", () => {
  /** What has the focus, and whether that can be seen. */
  const focus = (page: Page) =>
    page.evaluate(() => {
      const e = document.activeElement as HTMLElement;
      const s = getComputedStyle(e);
      return { name: e.getAttribute("aria-label") ?? (e.textContent?.trim() || e.id), visible: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 };
    });
  const tabTo = async (page: Page, name: string | RegExp) => {
    for (let i = 0; i < 40; i++) {
      const at = await focus(page);
      if (typeof name === "string" ? at.name === name : name.test(at.name)) {
        expect(at.visible, `the focus on ${at.name} can be seen`).toBe(true);
        return;
      }
      await page.keyboard.press("Tab");
    }
    throw new Error(`Tab does not lead to ${name}`);
  };

  test("somebody signs in, ends another device, thinks twice, and signs out everywhere", async () => {
    await signIn(await (await device(browser, { userAgent: agents.iphone })).newPage(), authority.url);
    const page = await (await device(browser, { userAgent: agents.firefox })).newPage();
    await page.goto(authority.url + "/login?return=/account");
    expect((await focus(page)).name).toBe("login");
    await page.keyboard.type(alice.login);
    await page.keyboard.press("Tab");
    await page.keyboard.type(alice.password);
    await page.keyboard.press("Enter");
    await page.waitForURL(authority.url + "/account");

    await tabTo(page, /^Sign out Safari on iPhone/);
    await page.keyboard.press("Enter");
    await page.getByRole("status").filter({ hasText: "Signed out on 1 device" }).waitFor();

    await tabTo(page, "Sign out everywhere");
    await page.keyboard.press("Space");
    const dialog = page.getByRole("dialog", { name: "Sign out everywhere?" });
    await dialog.waitFor();
    expect((await focus(page)).name, "the harmless button comes first").toBe("Cancel");
    for (let i = 0; i < 6; i++) {
      await page.keyboard.press("Tab");
      // <body> is where the browser's own controls would have the focus.
      expect(await page.evaluate(() => document.activeElement === document.body || !!document.activeElement?.closest("dialog"))).toBe(true);
    }
    // Whoever asks again before the event of the first closing has come must
    // still be able to say yes: it was lost once.
    await page.keyboard.press("Escape");
    expect(await dialog.isVisible()).toBe(false);
    expect((await focus(page)).name, "the focus goes back").toBe("Sign out everywhere");
    expect(new URL(page.url()).pathname).toBe("/account");

    await page.keyboard.press("Enter");
    await dialog.waitFor();
    await page.keyboard.press("Tab");
    expect((await focus(page)).name).toBe("Sign out everywhere");
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/login/);
  });

  test("the idle warning takes the focus, and Escape stays signed in", async () => {
    const page = await (await device(browser)).newPage();
    await page.clock.install();
    await signIn(page, authority.url, "/demo");
    await page.getByRole("button", { name: "Load employees" }).focus();
    await page.clock.fastForward("09:05");
    const dialog = page.getByRole("dialog", { name: "Are you still there?" });
    await dialog.waitFor();
    expect((await focus(page)).name).toBe("Stay signed in");
    await page.clock.resume();
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    expect((await focus(page)).name).toBe("Load employees");
  });
});

test("every page weighs less than 30 kB with all that it loads, and asks nobody else", async () => {
  const weights: Record<string, number> = {};
  for (const path of ["/login", "/account", "/signout", "/demo?load=1"]) {
    // A browser that has none of it yet.
    const page = await (await device(browser)).newPage();
    if (path !== "/login") {
      await signIn(page, authority.url);
      await page.goto("about:blank");
    }
    const cdp = await page.context().newCDPSession(page);
    await cdp.send("Network.enable");
    await cdp.send("Network.setCacheDisabled", { cacheDisabled: true });
    const trouble = await watch(page, authority.url);
    const sizes: Promise<number>[] = [];
    page.on("response", (response) => {
      if (response.url().includes("/sessions/events")) return; // never ends
      sizes.push(response.body().then((body) => body.length, () => 0));
    });
    await page.goto(authority.url + path);
    await page.waitForLoadState("load");
    weights[path] = (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
    expect(trouble).toEqual({ csp: [], errors: [], foreign: [] });
  }
  console.log(`pages, bytes with all assets, uncompressed: ${JSON.stringify(weights)}`);
  expect(Math.max(...Object.values(weights))).toBeLessThan(30_000);
  expect(Math.min(...Object.values(weights))).toBeGreaterThan(5000); // something was measured
});

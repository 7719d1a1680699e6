// What people do on the authority's own pages, with JavaScript and without.

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { agents } from "../src/agents.js";
import { alice, isActive, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { device, launch, sessionCookie, signIn, visit, watch } from "../src/chromium.js";

let browser: Browser;
let authority: Authority;
beforeAll(async () => {
  [browser, authority] = await Promise.all([launch(), startDev()]);
});
afterAll(() => Promise.all([browser?.close(), authority?.stop()]));
// One user for all tests: each begins with no session.
beforeEach(() => authority.operator("logout", "--user", alice.login));

describe.each([
  { with: "with JavaScript", javaScriptEnabled: true },
  { with: "without JavaScript", javaScriptEnabled: false },
])("$with", ({ javaScriptEnabled }) => {
  const open = async (userAgent?: string): Promise<Page> => {
    const context = await device(browser, { javaScriptEnabled, ...(userAgent && { userAgent }) });
    return context.newPage();
  };

  test("somebody signs in, sees the devices, and signs out", async () => {
    const page = await open(agents.firefox);
    const trouble = await watch(page, authority.url);
    await page.goto(authority.url + "/account");
    expect(page.url()).toContain("/login?return=%2Faccount");
    await page.getByLabel("E-mail or user name").fill(alice.login);
    await page.getByLabel("Password", { exact: true }).fill(alice.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(authority.url + "/account");
    expect(await page.getByRole("heading", { level: 1 }).textContent()).toBe("Your account");
    const item = page.getByRole("listitem");
    expect(await item.count()).toBe(1);
    expect(await item.textContent()).toMatch(/Firefox.*Linux.*This device.*127\.0\.0\.1.*Active now/s);

    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.waitForURL(/\/login/);
    expect(await page.getByRole("status").textContent()).toMatch(/^You are signed out\. Refused everywhere after .*ms\.$/);
    await page.goto(authority.url + "/account");
    expect(page.url()).toContain("/login");
    expect(trouble).toEqual({ csp: [], errors: [], foreign: [] });
  });

  test("a wrong password is explained, and what was typed stays", async () => {
    const page = await open();
    await page.goto(authority.url + "/login");
    await page.getByLabel("E-mail or user name").fill(alice.login);
    await page.getByLabel("Password", { exact: true }).fill("not the password");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("alert").waitFor();
    expect(await page.getByRole("alert").textContent()).toBe("That name and password do not match.");
    expect(await page.getByLabel("E-mail or user name").inputValue()).toBe(alice.login);
    expect(await page.getByLabel("Password", { exact: true }).inputValue()).toBe("");
    expect(await page.title()).toMatch(/^Problem: /);
  });

  test("a device is signed out from another one, which says what happened", async () => {
    const [here, there] = [await open(agents.firefox), await open(agents.iphone)];
    await signIn(here, authority.url);
    await signIn(there, authority.url);
    await here.reload();
    const phone = here.getByRole("listitem").filter({ hasText: "iPhone" });
    await phone.getByRole("button", { name: /^Sign out/ }).click();
    await here.getByRole("status").filter({ hasText: "Signed out on 1 device." }).waitFor();
    expect(await here.getByRole("listitem").count()).toBe(1);
    await visit(there, authority.url + "/account");
    expect(there.url()).toContain("/login");
  });

  test("all other devices are signed out, this one stays", async () => {
    const [here, second, third] = [await open(agents.firefox), await open(agents.iphone), await open(agents.chrome)];
    for (const page of [here, second, third]) await signIn(page, authority.url);
    await here.reload();
    expect(await here.getByRole("listitem").count()).toBe(3);
    await here.getByRole("button", { name: "Sign out all other devices" }).click();
    await here.getByRole("status").filter({ hasText: "Signed out on 2 devices. Refused everywhere after" }).waitFor();
    expect(await here.getByRole("listitem").count()).toBe(1);
    for (const page of [second, third]) {
      await visit(page, authority.url + "/account");
      expect(page.url()).toContain("/login");
    }
  });

  test("everywhere means here too", async () => {
    const [here, there] = [await open(agents.firefox), await open(agents.iphone)];
    await signIn(here, authority.url);
    await signIn(there, authority.url);
    await here.reload();
    await here.getByRole("button", { name: "Sign out everywhere" }).click();
    if (javaScriptEnabled) {
      const dialog = here.getByRole("dialog", { name: "Sign out everywhere?" });
      expect(await dialog.textContent()).toContain("All 2 devices");
      await dialog.getByRole("button", { name: "Sign out everywhere" }).click();
    }
    await here.waitForURL(/\/login/);
    expect(await here.getByRole("status").textContent()).toContain("Signed out on 2 devices.");
    for (const page of [here, there]) {
      await visit(page, authority.url + "/account");
      expect(page.url()).toContain("/login");
    }
  });

  test("the page that asks signs out here, or everywhere", async () => {
    const [here, there] = [await open(agents.firefox), await open(agents.iphone)];
    await signIn(there, authority.url);
    await signIn(here, authority.url, "/signout");
    await here.getByRole("radio", { name: "This device" }).waitFor();
    await here.getByRole("button", { name: "Sign out" }).click();
    await here.waitForURL(/\/login/);
    await visit(there, authority.url + "/account");
    expect(there.url()).toBe(authority.url + "/account");

    await signIn(here, authority.url, "/signout");
    await here.getByText("All devices").click(); // what is clicked is the label
    await here.getByRole("button", { name: "Sign out" }).click();
    await here.waitForURL(/\/login/);
    await visit(there, authority.url + "/account");
    expect(there.url()).toContain("/login");
  });

  test("to look at the page that asks signs nobody out", async () => {
    const page = await open();
    await signIn(page, authority.url, "/signout");
    await page.reload();
    await page.getByRole("link", { name: "Cancel" }).click();
    await page.waitForURL(authority.url + "/account");
  });

  test("a new password signs out all other devices; this one only if asked to", async () => {
    const next = "another-demo-password";
    const [here, there] = [await open(agents.firefox), await open(agents.iphone)];
    await signIn(here, authority.url);
    await signIn(there, authority.url);
    const before = await sessionCookie(here.context());
    const change = async (from: string, to: string) => {
      await here.getByLabel("Current password", { exact: true }).fill(from);
      await here.getByLabel("New password", { exact: true }).fill(to);
      await here.getByRole("button", { name: "Change password" }).click();
    };

    await change("not the password", next);
    expect(await here.getByRole("alert").textContent()).toBe("That is not your password.");

    await change(alice.password, next);
    await here.getByRole("status").filter({ hasText: "Your password was changed. Signed out on 1 device." }).waitFor();
    await visit(there, authority.url + "/account");
    expect(there.url()).toContain("/login");
    // A new cookie, because the old one may be what the thief has.
    expect(await isActive(authority, before)).toBe(false);
    expect(await sessionCookie(here.context())).not.toBe(before);

    await here.getByLabel("Stay signed in on this device").uncheck();
    await change(next, alice.password);
    await here.waitForURL(/\/login/);
    await signIn(here, authority.url);
  });

  test("whoever comes to the login page signed in may go on, or sign in as someone else", async () => {
    const page = await open();
    await signIn(page, authority.url);
    const first = await sessionCookie(page.context());
    await page.goto(authority.url + "/login");
    await page.getByRole("link", { name: `Continue as ${alice.login}` }).click();
    await page.waitForURL(authority.url + "/account");

    await signIn(page, authority.url);
    const second = await sessionCookie(page.context());
    expect(second).not.toBe(first);
    expect(await isActive(authority, first)).toBe(false);
    expect(await page.getByRole("listitem").count()).toBe(1);
  });

  test("the demo loads its rows only for somebody who is signed in, and Log Off ends that", async () => {
    const page = await open();
    await page.goto(authority.url + "/demo");
    expect(page.url()).toContain("/login");
    await signIn(page, authority.url, "/demo");
    expect(await page.getByRole("row").count()).toBe(0);
    await page.getByRole("button", { name: "Load employees" }).click();
    await page.getByRole("row").filter({ hasText: "Lamplighter" }).waitFor();
    expect(await page.getByRole("row").count()).toBe(6);
    await page.getByRole("button", { name: "Log Off" }).click();
    await page.waitForURL(/\/login/);
    expect(await page.content()).not.toContain("Lamplighter");
  });

  test("the session is gone when the browser is closed: remember-me is off unless it is offered", async () => {
    const page = await open();
    await page.goto(authority.url + "/login");
    expect(await page.getByLabel("Stay signed in on this device").count()).toBe(0);
    await signIn(page, authority.url);
    const cookies = await page.context().cookies();
    expect(cookies.map(({ name, expires, httpOnly, sameSite, path }) => ({ name, expires, httpOnly, sameSite, path }))).toContainEqual({
      name: "curfew-dev", expires: -1, httpOnly: true, sameSite: "Lax", path: "/",
    });
  });
});

// @curfew/client in a real page: what it keeps where, and what a thief has of it.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { alice, isActive, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { blocked, device, launch, until } from "../src/chromium.js";
import { address, enter, heard, open, reasonOut, settled, startFixture, status, storage, stored } from "../src/client.js";
import type { Site } from "../src/site.js";

let browser: Browser;
let authority: Authority;
let site: Site;
beforeAll(async () => {
  [browser, authority, site] = await Promise.all([launch(), startDev(), startFixture()]);
});
afterAll(() => Promise.all([browser?.close(), authority?.stop(), site?.close()]));
beforeEach(() => authority.operator("logout", "--user", alice.login));

describe.each(["session", "local", "memory"] as const)("with storage %j", (where) => {
  test("somebody signs in and out: the tokens are dead, and nothing is left behind", async () => {
    const page = await open(await device(browser), address(site, { url: authority.url, storage: where }));
    expect(await status(page)).toBe("signedOut");
    await enter(page);
    await page.getByText(`Private to ${alice.login}`).waitFor();
    const { accessToken } = await page.evaluate(() => client.state.session!);
    expect((await storage(page)).includes(accessToken)).toBe(where !== "memory");
    expect(await page.evaluate((url) => client.fetch(url + "/demo/employees").then((r) => r.status), authority.url)).toBe(200);

    const refresh = where === "memory" ? null : (await stored(page, where)).refresh;
    const result = await page.evaluate(() => {
      const pending = client.signOut();
      return Promise.all([pending, { status: client.state.status, shown: document.getElementById("private")!.textContent }]);
    });
    expect(result[0]).toMatchObject({ ok: true, value: { state: "enforced", scope: "local", sessionsEnded: 1 } });
    expect(result[1], "local state is gone before anything is awaited").toEqual({ status: "signedOut", shown: "" });
    expect(await heard(page, "signedOut")).toMatchObject([{ reason: "user" }]);
    expect(await isActive(authority, accessToken)).toBe(false);
    if (refresh) expect(await isActive(authority, refresh)).toBe(false);
    expect(await storage(page)).not.toMatch(/eyJ|access|refresh|alice/);
    await page.reload();
    await settled(page);
    expect(await status(page)).toBe("signedOut");
  });

  test(where === "memory" ? "to reload the page is to be signed out" : "a reload stays signed in", async () => {
    const page = await open(await device(browser), address(site, { url: authority.url, storage: where }));
    await enter(page);
    await page.reload();
    await settled(page);
    expect(await status(page)).toBe(where === "memory" ? "signedOut" : "signedIn");
  });
});

test("a wrong password is a value, not an exception", async () => {
  const page = await open(await device(browser), address(site, { url: authority.url }));
  const result = await page.evaluate((login) => client.signIn({ login, password: "wrong" }), alice.login);
  expect(result).toMatchObject({ ok: false, error: { code: "invalid_credentials", status: 400 } });
});

test("stolen tokens that are replayed after the logout are dead at once", async () => {
  const page = await open(await device(browser), address(site, { url: authority.url }));
  await enter(page);
  const loot = await stored(page);
  const thief = await (await device(browser)).newPage();
  await thief.goto(site.url + "/client/index.js"); // any page of an origin that may call
  const replay = () =>
    thief.evaluate(
      async ({ url, loot }) => {
        const Authorization = "Bearer " + loot.access;
        const form = new URLSearchParams({ grant_type: "refresh_token", refresh_token: loot.refresh });
        const calls = ["/demo/employees", "/user", "/sessions", "/sessions/current", "/sessions/events"].map((path) => fetch(url + path, { headers: { Authorization } }));
        return [...(await Promise.all(calls)).map((r) => r.status), (await fetch(url + "/token", { method: "POST", body: form })).status];
      },
      { url: authority.url, loot },
    );
  expect((await replay()).slice(0, 5), "they were worth stealing").toEqual([200, 200, 200, 200, 200]);
  await page.evaluate(() => client.signOut());
  expect(await replay()).toEqual([401, 401, 401, 401, 401, 400]);
});

test("a refresh token that a thief has used ends the session, and the page says that it was reuse", async () => {
  const strict = await startDev();
  try {
    const page = await open(await device(browser), address(site, { url: strict.url }));
    await enter(page);
    const loot = await stored(page);
    const spend = (refresh: string) =>
      fetch(strict.url + "/token", { method: "POST", body: new URLSearchParams({ grant_type: "refresh_token", refresh_token: refresh }) });
    const next = (await (await spend(loot.refresh)).json()) as { refresh_token: string };
    await spend(next.refresh_token); // the thief has gone on
    // Within the grace the same token gets the same successor; that is spent, too.
    expect((await spend(loot.refresh)).status).toBe(400);
    expect(await reasonOut(page)).toBe("reuse");
    expect(await storage(page)).not.toMatch(/eyJ/);
  } finally {
    await strict.stop();
  }
});

test("with the storage full the session goes on in memory, and logs out as ever", async () => {
  const context = await device(browser);
  await context.addInitScript(() => {
    for (const box of [localStorage, sessionStorage]) {
      for (let size = 1 << 20; size >= 1; size >>= 1) {
        try {
          for (let i = 0; ; i++) box.setItem(`${size}:${i}`, "x".repeat(size));
        } catch {
          // full for this size
        }
      }
    }
  });
  const page = await open(context, address(site, { url: authority.url }));
  await enter(page);
  await until(async () => (await heard(page, "error")).some(({ code }) => code === "unexpected"), "the event that says so");
  const { accessToken } = await page.evaluate(() => client.state.session!);
  expect(await page.evaluate(() => client.refresh().then((r) => r.ok))).toBe(true);
  expect(await page.evaluate(() => client.signOut())).toMatchObject({ ok: true, value: { state: "enforced" } });
  expect(await isActive(authority, accessToken)).toBe(false);
  expect(await storage(page)).not.toMatch(/eyJ/);
});

test("with cookies and storage blocked by the browser's own setting it works in memory", async () => {
  const context = await blocked();
  const page = await open(context, address(site, { url: authority.url, storage: "local" }));
  expect(await page.evaluate(() => { try { return localStorage.length; } catch (e) { return (e as Error).name; } })).toBe("SecurityError");
  await enter(page);
  const { accessToken } = await page.evaluate(() => client.state.session!);
  expect(await page.evaluate(() => client.signOut())).toMatchObject({ ok: true, value: { state: "enforced" } });
  expect(await isActive(authority, accessToken)).toBe(false);
});

test("in a sandboxed frame, which has no origin, nothing throws and nobody is signed in", async () => {
  const page = await (await device(browser)).newPage();
  const errors: Error[] = [];
  page.on("pageerror", (err) => errors.push(err));
  await page.goto(site.url + "/frame");
  await page.evaluate((url) => void (document.querySelector("iframe")!.src = url), address(site, { url: authority.url, storage: "local" }));
  const frame = page.frameLocator("iframe");
  await frame.locator("body[data-ready]").waitFor({ state: "attached" });
  const result = await frame.locator("body").evaluate((_, who) => client.signIn(who), alice);
  expect(result, "the authority answers no origin that is nobody's").toMatchObject({ ok: false, error: { code: "network" } });
  expect(await frame.locator("body").evaluate(() => client.signOut())).toMatchObject({ ok: true });
  expect(errors).toEqual([]);
});

describe.each([-86_400_000, 86_400_000])("with a clock that is wrong by %d ms", (shift) => {
  test("nobody is signed out by it, tokens are refreshed, and a reload stays signed in", async () => {
    const quick = await startDev({ accessLife: "2s" });
    try {
      const context = await device(browser);
      await context.addInitScript((shift) => {
        const now = Date.now;
        Object.assign(window, { realNow: now });
        Date.now = () => now() + shift;
        const Real = Date;
        window.Date = new Proxy(Real, { construct: (target, args: []) => (args.length ? new target(...args) : new target(Real.now())) });
      }, shift);
      const page = await open(context, address(site, { url: quick.url, storage: "local" }));
      await enter(page);
      const { access } = await stored(page, "local");
      await until(async () => (await stored(page, "local")).access !== access, "the refresh by itself");
      const { session, now } = await page.evaluate(() => ({ session: client.state.session!, now: Date.now() }));
      expect(session.expiresAt - now, "the end of the session in this clock").toBeGreaterThan(29 * 86_400_000);
      await page.reload();
      await settled(page);
      expect(await status(page)).toBe("signedIn");
      expect(await heard(page, "signedOut")).toEqual([]);
      expect(await page.evaluate(() => client.signOut())).toMatchObject({ ok: true, value: { state: "enforced" } });
    } finally {
      await quick.stop();
    }
  });
});

test("a clock that is set by a day while the page is open ends nothing", async () => {
  const context = await device(browser);
  await context.addInitScript(() => {
    const now = Date.now;
    Object.assign(window, { realNow: now, shift: 0 });
    Date.now = () => now() + (window as unknown as { shift: number }).shift;
  });
  const page = await open(context, address(site, { url: authority.url }));
  await enter(page);
  for (const shift of [86_400_000, -86_400_000, 40 * 86_400_000]) {
    await page.evaluate((shift) => Object.assign(window, { shift }), shift);
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await until(async () => (await status(page)) === "signedIn", "the session");
    expect(await page.evaluate((url) => client.fetch(url + "/demo/employees").then((r) => r.status), authority.url)).toBe(200);
  }
  expect(await heard(page, "signedOut")).toEqual([]);
});

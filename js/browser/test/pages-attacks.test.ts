// What others try with the session of somebody who is signed in. Each test is
// named after the attack.

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { alice, isActive, liveSessions, startDev, startTLS } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { blocked, device, launch, sessionCookie, signIn } from "../src/chromium.js";
import { startSite } from "../src/site.js";
import type { Site } from "../src/site.js";

let browser: Browser;
let authority: Authority;
let site: Site;
const pages: Record<string, string> = {};
beforeAll(async () => {
  [browser, authority, site] = await Promise.all([launch(), startDev(), startSite(pages)]);
});
afterAll(() => Promise.all([browser?.close(), authority?.stop(), site?.close()]));
beforeEach(() => authority.operator("logout", "--user", alice.login));

const form = (url: string, fields: Record<string, string>, enctype = "application/x-www-form-urlencoded") =>
  `<form method="post" enctype="${enctype}" action="${url}">${Object.entries(fields)
    .map(([name, value]) => `<input name='${name}' value='${value}'>`)
    .join("")}</form><script>document.forms[0].submit()</script>`;

// Another site does not get the cookie. Another port of the same host does:
// SameSite does not help there.
describe.each([
  { who: "another site", origin: () => site.elsewhere },
  { who: "another port of the same host", origin: () => site.url },
])("a page on $who cannot log anybody out or in", ({ origin }) => {
  const attempts: Record<string, (url: string, id: string) => string> = {
    "a form to /signout": (url) => form(url + "/signout", { scope: "global" }),
    "a form to /account/sessions": (url) => form(url + "/account/sessions", { scope: "global" }),
    "a form that ends one device": (url, id) => form(url + "/account/sessions", { end: id }),
    "a form that changes the password": (url) =>
      form(url + "/account/password", { current_password: alice.password, new_password: "the password of the attacker" }),
    "a form to the API": (url) => form(url + "/logout", { scope: "global" }),
    "a form that looks like JSON to the API": (url) => form(url + "/logout", { '{"scope":"global","x":"': '"}' }, "text/plain"),
    "an image": (url) => `<img src="${url}/signout?scope=global"><img src="${url}/logout?scope=global">`,
    "a link that is followed": (url) => `<script>location.href = "${url}/signout?scope=global"</script>`,
    "a link to the API": (url) => `<script>location.href = "${url}/logout?scope=global"</script>`,
    "an iframe": (url) => `<iframe src="${url}/signout"></iframe><iframe src="${url}/account"></iframe>`,
    "fetch with the cookies": (url, id) => `<script type="module">
      const all = ["/signout", "/account/sessions", "/logout"].map((path) =>
        fetch("${url}" + path, { method: "POST", mode: "no-cors", credentials: "include", body: new URLSearchParams({ scope: "global" }) }));
      all.push(fetch("${url}/sessions/${id}", { method: "DELETE", credentials: "include" }));
      all.push(fetch("${url}/logout", { method: "POST", credentials: "include", headers: { "Content-Type": "application/json" }, body: '{"scope":"global"}' }));
      await Promise.allSettled(all);
    </script>`,
    "a beacon": (url) => `<script>navigator.sendBeacon("${url}/logout", new URLSearchParams({ scope: "global" }))</script>`,
    "prefetching": (url) => `<link rel="prefetch" href="${url}/signout?scope=global"><script type="speculationrules">
      {"prerender":[{"urls":["${url}/signout?scope=global"],"eagerness":"immediate"}]}</script>`,
  };

  test("out", { timeout: 60_000 }, async () => {
    const context = await device(browser);
    const page = await context.newPage();
    await signIn(page, authority.url);
    const cookie = await sessionCookie(context);
    const { session } = await page.evaluate(async () => (await fetch("/sessions/current")).json());
    for (const [name, attack] of Object.entries(attempts)) {
      pages["/attack"] = attack(authority.url, session.id);
      const victim = await context.newPage();
      await victim.goto(origin() + "/attack").catch(() => null); // it may navigate away
      await victim.waitForLoadState("networkidle");
      expect(await isActive(authority, cookie), name).toBe(true);
      expect(await sessionCookie(context), name).toBe(cookie);
      for (const frame of victim.frames().slice(1)) {
        expect(await frame.content().catch(() => ""), "no page of ours is shown in a frame").not.toMatch(/Sign out|Your devices/);
      }
      await victim.close();
    }
    await page.reload();
    expect(new URL(page.url()).pathname).toBe("/account");
  });

  test("in, as the attacker", async () => {
    const context = await device(browser);
    const page = await context.newPage();
    await page.goto(authority.url + "/login"); // has its cookie that shows that cookies work
    pages["/attack"] = form(authority.url + "/login", alice);
    await page.goto(origin() + "/attack").catch(() => null);
    await page.getByRole("heading", { name: "That did not come from here" }).waitFor();
    expect((await context.cookies()).map(({ name }) => name)).not.toContain("curfew-dev");
  });

  test("nor read who is signed in", async () => {
    const context = await device(browser);
    await signIn(await context.newPage(), authority.url);
    pages["/attack"] = "<p>attack</p>";
    const victim = await context.newPage();
    await victim.goto(origin() + "/attack");
    const read = await victim.evaluate(async (url) => {
      const out: string[] = [];
      for (const credentials of ["include", "same-origin"] as const) {
        for (const path of ["/sessions/current", "/demo/employees", "/account"]) {
          out.push(await fetch(url + path, { credentials }).then((r) => r.text(), () => "refused"));
        }
      }
      out.push(await new Promise((resolve) => {
        const source = new EventSource(url + "/sessions/events", { withCredentials: true });
        source.addEventListener("session", () => resolve("heard the session"));
        source.onerror = () => resolve("refused");
      }));
      return out.join("\n");
    }, authority.url);
    expect(read).not.toMatch(/Your devices|Lamplighter|session_id|heard/);
  });
});

test("a stolen cookie that is replayed after the logout is dead at once", async () => {
  const context = await device(browser);
  const page = await context.newPage();
  await signIn(page, authority.url);
  const value = await sessionCookie(context);
  const thief = await device(browser);
  await thief.addCookies(await context.cookies());
  const stolen = await thief.newPage();
  await stolen.goto(authority.url + "/demo?load=1");
  await stolen.getByRole("row").filter({ hasText: "Lamplighter" }).waitFor(); // it was worth stealing

  await page.getByRole("button", { name: "Sign out", exact: true }).click();
  await page.waitForURL(/\/login/);
  await stolen.getByText("You are signed out.").waitFor(); // the thief's page goes away, too
  // The answer has taken the thief's copy away, but the value is written down.
  await thief.addCookies([{ name: "curfew-dev", value, url: authority.url }]);
  for (const path of ["/account", "/demo?load=1", "/signout"]) {
    await stolen.goto(authority.url + path);
    expect(new URL(stolen.url()).pathname, path).toBe("/login");
    await thief.addCookies([{ name: "curfew-dev", value, url: authority.url }]);
  }
  const statuses = await stolen.evaluate(async () => {
    const calls = ["/sessions/current", "/demo/employees", "/sessions", "/sessions/events"].map((path) => fetch(path).then((r) => r.status));
    return Promise.all(calls);
  });
  expect(statuses).toEqual([401, 401, 401, 401]);
});

test("a cookie that the attacker has put there before the login is not the one of the session (fixation)", async () => {
  const attacker = await device(browser);
  await signIn(await attacker.newPage(), authority.url);
  const planted = await sessionCookie(attacker);

  const context = await device(browser);
  await context.addCookies([{ name: "curfew-dev", value: planted, url: authority.url }]);
  const page = await context.newPage();
  await signIn(page, authority.url);
  expect(await sessionCookie(context)).not.toBe(planted);
  expect(await isActive(authority, planted)).toBe(false);
});

test("a second cookie of the name, tossed by a neighbour, is not taken for the session", async () => {
  const attacker = await device(browser);
  await signIn(await attacker.newPage(), authority.url);
  const planted = await sessionCookie(attacker);
  const context = await device(browser);
  await signIn(await context.newPage(), authority.url);
  const own = await sessionCookie(context);
  await context.addCookies([{ name: "curfew-dev", value: planted, domain: "127.0.0.1", path: "/account" }]);
  const page = await context.newPage();
  await page.goto(authority.url + "/account");
  expect(await page.getByRole("heading", { name: "Your account" }).count()).toBe(0);
  expect(await isActive(authority, own)).toBe(true);
});

test.each([
  "https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil.example", "https:evil.example", "/%09/evil.example", "javascript:alert(1)",
  "http://127.0.0.1.evil.example", "http://127.0.0.1@evil.example", "http://localhost:1@evil.example/", "/\t/evil.example", "data:text/html,x",
])("an address to return to on another site is not followed (open redirect): %j", async (target) => {
  const page = await (await device(browser)).newPage();
  const foreign: string[] = [];
  page.on("request", (request) => {
    if (new URL(request.url()).origin !== authority.url) foreign.push(request.url());
  });
  await page.goto(`${authority.url}/login?return=${encodeURIComponent(target)}`);
  await page.getByLabel("E-mail or user name").fill(alice.login);
  await page.getByLabel("Password", { exact: true }).fill(alice.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((url) => url.pathname !== "/login");
  expect(new URL(page.url()).origin).toBe(authority.url);
  expect(foreign).toEqual([]);
});

test("what a link says about the end of a session is not shown as it came", async () => {
  const page = await (await device(browser)).newPage();
  await page.goto(`${authority.url}/login?reason=${encodeURIComponent("Call 555-0100 <img src=x onerror=alert(1)>")}`);
  expect(await page.content()).not.toContain("555-0100");
});

test("with cookies blocked in the browser the login page says so, and begins no session", async () => {
  const context = await blocked();
  const page = await context.newPage();
  await page.goto(authority.url + "/login");
  await page.getByLabel("E-mail or user name").fill(alice.login);
  await page.getByLabel("Password", { exact: true }).fill(alice.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  expect(await page.getByRole("alert").textContent()).toMatch(/did not send back the cookie.*Allow cookies/);
  expect(await liveSessions(authority)).toEqual([]);
});

describe("over TLS", () => {
  test("__Host-curfew is kept, sent and deleted by the browser, and no script can read it", async () => {
    const secure = await startTLS();
    onTestFinished(() => secure.stop());
    const context = await device(browser, { ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await signIn(page, secure.url);
    const cookies = (await context.cookies()).filter(({ name }) => name === "__Host-curfew");
    expect(cookies).toMatchObject([{ secure: true, httpOnly: true, sameSite: "Lax", path: "/", domain: "127.0.0.1", expires: -1 }]);
    expect(await page.evaluate(() => document.cookie)).not.toContain("curfew");
    const cookie = await sessionCookie(context);
    await page.reload();
    expect(page.url()).toBe(secure.url + "/account"); // it was sent
    expect(await page.getByLabel("Stay signed in on this device").isVisible()).toBe(true); // of the password form

    await page.getByRole("button", { name: "Sign out", exact: true }).click();
    await page.waitForURL(/\/login/);
    expect((await context.cookies()).map(({ name }) => name)).not.toContain("__Host-curfew");
    await context.addCookies([{ name: "__Host-curfew", value: cookie, url: secure.url, secure: true, httpOnly: true, sameSite: "Lax" }]);
    await page.goto(secure.url + "/account");
    expect(new URL(page.url()).pathname).toBe("/login");
  });

  test("remember-me, where it is offered, is off; ticked it outlives the browser and ends at the limit all the same", async () => {
    const secure = await startTLS("--cookies-remember", "offer", "--sessions-lifetime", "48h");
    onTestFinished(() => secure.stop());
    for (const remember of [false, true]) {
      const context = await device(browser, { ignoreHTTPSErrors: true });
      const page = await context.newPage();
      await page.goto(secure.url + "/login");
      const box = page.getByLabel("Stay signed in on this device");
      expect(await box.isChecked()).toBe(false);
      if (remember) await box.check();
      await page.getByLabel("E-mail or user name").fill(alice.login);
      await page.getByLabel("Password", { exact: true }).fill(alice.password);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.waitForURL(secure.url + "/account");
      const { expires } = (await context.cookies()).find(({ name }) => name === "__Host-curfew")!;
      if (remember) {
        expect(expires - Date.now() / 1000).toBeGreaterThan(47 * 3600);
        expect(expires - Date.now() / 1000).toBeLessThanOrEqual(48 * 3600 + 1);
      } else {
        expect(expires).toBe(-1);
      }
    }
  });
});

test("without TLS an authority that is no toy gives no cookie and takes none, and says why", async () => {
  const plain = await startTLS("--tls-cert", "", "--tls-key", "");
  onTestFinished(() => plain.stop());
  const context = await device(browser);
  const page = await context.newPage();
  const answer = await page.goto(plain.url + "/login");
  expect(answer!.status()).toBe(403);
  await page.getByRole("heading", { name: "This page needs a secure connection" }).waitFor();
  expect(await context.cookies()).toEqual([]);
});

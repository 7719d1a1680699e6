// Writes docs/screenshots: npm run screenshots. What is in the pictures is the
// same at each run, so that a difference is a difference of the pages.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { agents } from "./agents.js";
import { alice, startDev } from "./authority.js";
import type { Authority } from "./authority.js";
import { device, launch } from "./chromium.js";
import { pack } from "./png.js";

let browser: Browser;
let authority: Authority;
let cookie: string;
const directory = join(inject("root"), "docs/screenshots");

// Addresses that are kept for documentation (RFC 5737, RFC 3849).
const devices = [
  { user_agent: agents.iphone, ip: "198.51.100.23", seen: "3 hours ago", since: "28 February 2026" },
  { user_agent: agents.chrome, ip: "2001:db8::4a:1", seen: "5 minutes ago", since: "2 March 2026" },
  { user_agent: agents.firefox, ip: "192.0.2.17", seen: "", since: "4 March 2026" }, // this one
];

beforeAll(async () => {
  mkdirSync(directory, { recursive: true });
  [browser, authority] = await Promise.all([launch({ args: ["--disable-lcd-text", "--font-render-hinting=none", "--force-color-profile=srgb"] }), startDev({ idleTimeout: "10m" })]);
  for (const { user_agent, ip } of devices) cookie = await begin(user_agent, ip);
});
afterAll(() => Promise.all([browser?.close(), authority?.stop()]));

/** Signs in as the server of a site does, which says where its visitor is. */
async function begin(user_agent: string, ip: string): Promise<string> {
  const answer = await fetch(authority.url + "/sessions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ email: alice.login, password: alice.password, user_agent, ip }),
  });
  if (!answer.ok) throw new Error(`sign-in: ${answer.status}`);
  return ((await answer.json()) as { session_cookie: string }).session_cookie;
}

const shapes: Record<string, BrowserContextOptions> = {
  desktop: { viewport: { width: 1280, height: 800 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
};

const shots: Record<string, (page: Page) => Promise<void>> = {
  async login(page) {
    await page.context().clearCookies();
    await page.goto(authority.url + "/login");
    await page.getByLabel("E-mail or user name").fill(alice.login);
    await page.getByLabel("Password", { exact: true }).fill(alice.password);
  },
  async devices(page) {
    await account(page);
  },
  async confirmation(page) {
    await account(page);
    await page.getByRole("button", { name: "Sign out everywhere" }).click();
    await page.getByRole("dialog").waitFor();
  },
  async "idle-warning"(page) {
    await page.clock.install();
    await demo(page);
    await page.clock.fastForward("09:18");
    await page.getByRole("dialog").waitFor();
    await page.evaluate(() => void (document.getElementById("idle-left")!.textContent = "42 s"));
  },
  demo,
};

async function account(page: Page) {
  await page.goto(authority.url + "/account");
  await page.getByRole("listitem").nth(2).waitFor();
  // Times go on; these do not.
  for (const { user_agent, seen, since } of devices) {
    const item = page.getByRole("listitem").filter({ hasText: user_agent });
    const times = item.locator("time");
    if (seen) await times.first().evaluate((e, text) => void (e.textContent = text), seen);
    await times.last().evaluate((e, text) => void (e.textContent = text), since);
  }
}

async function demo(page: Page) {
  await page.goto(authority.url + "/demo?load=1");
  await page.getByRole("row").filter({ hasText: "Lamplighter" }).waitFor();
}

for (const [name, prepare] of Object.entries(shots)) {
  for (const colorScheme of ["light", "dark"] as const) {
    for (const [shape, options] of Object.entries(shapes)) {
      const file = `${name}-${colorScheme}-${shape}.png`;
      test(file, async () => {
        const context = await device(browser, { ...options, colorScheme, userAgent: agents.firefox });
        await context.addCookies([{ name: "curfew-dev", value: cookie, url: authority.url }]);
        const page = await context.newPage();
        await prepare(page);
        await page.evaluate(() => document.fonts.ready);
        const png = pack(await page.screenshot({ animations: "disabled", caret: "hide" }));
        expect(png.length).toBeLessThan(150_000);
        writeFileSync(join(directory, file), png);
      });
    }
  }
}

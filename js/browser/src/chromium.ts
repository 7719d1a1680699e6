// The browser, and what every page is watched for.

import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import type { Browser, BrowserContext, BrowserContextOptions, LaunchOptions, Page } from "playwright-core";
import { inject, onTestFinished } from "vitest";
import { alice } from "./authority.js";

const switches = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export function launch(options: LaunchOptions = {}): Promise<Browser> {
  return chromium.launch({
    executablePath: inject("chromium"),
    ...options,
    args: [...switches, ...(options.args ?? [])],
  });
}

/** A browser profile of its own, with nothing in it: another device. */
export async function device(browser: Browser, options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const context = await browser.newContext({ locale: "en-GB", timezoneId: "UTC", reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(10_000);
  onTestFinished(() => discard(context));
  return context;
}

/** A browser in which cookies and storage are blocked, by its own setting: no
 * cookie is kept, and to look at localStorage throws. */
export async function blocked(): Promise<BrowserContext> {
  const profile = mkdtempSync(join(inject("scratch"), "profile-"));
  mkdirSync(join(profile, "Default"));
  writeFileSync(join(profile, "Default/Preferences"), JSON.stringify({ profile: { default_content_setting_values: { cookies: 2 } } }));
  const context = await chromium.launchPersistentContext(profile, { executablePath: inject("chromium"), args: switches });
  context.setDefaultTimeout(10_000);
  onTestFinished(() => context.close());
  return context;
}

/** Closes a profile. Chromium can take half a minute for that if a page is just
 * being replaced; nobody has to wait for it, the end of the browser ends all. */
export async function discard(context: BrowserContext): Promise<void> {
  await Promise.race([context.close(), new Promise((resolve) => setTimeout(resolve, 1000))]);
}

/** What went wrong on a page, beside what it shows. */
export interface Trouble {
  /** Violations of the Content-Security-Policy. */
  csp: string[];
  /** Exceptions that nobody caught. */
  errors: string[];
  /** Requests to other origins. */
  foreign: string[];
}

/** Watches a page from before its first request. */
export async function watch(page: Page, origin: string): Promise<Trouble> {
  const trouble: Trouble = { csp: [], errors: [], foreign: [] };
  page.on("pageerror", (err) => trouble.errors.push(String(err)));
  page.on("console", (message) => {
    if (/Content Security Policy|Refused to/i.test(message.text())) trouble.csp.push(message.text());
  });
  page.on("request", (request) => {
    if (/^https?:/.test(request.url()) && new URL(request.url()).origin !== origin) trouble.foreign.push(request.url());
  });
  return trouble;
}

/** Goes to a page. One that is just being signed out may go to the login page by
 * itself in the same moment, which interrupts that and is just as good. */
export async function visit(page: Page, url: string): Promise<void> {
  await page.goto(url).catch((problem: unknown) => {
    if (!String(problem).includes("interrupted by another navigation")) throw problem;
    return page.waitForURL(/\/login/);
  });
}

/** Signs in through the page, and waits until it shows what comes then. */
export async function signIn(page: Page, url: string, to = "/account", { login, password } = alice): Promise<void> {
  await page.goto(`${url}/login?return=${encodeURIComponent(to)}`);
  await page.getByLabel("E-mail or user name").fill(login);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(url + to);
}

/** The value of the session's cookie. */
export async function sessionCookie(context: BrowserContext): Promise<string> {
  const cookie = (await context.cookies()).find(({ name }) => name === "curfew-dev" || name === "__Host-curfew");
  if (!cookie) throw new Error("there is no session cookie");
  return cookie.value;
}

/** Waits until `condition` holds; for what Playwright cannot wait for. */
export async function until<T>(condition: () => T | Promise<T>, what = "the condition", timeout = 10_000): Promise<T> {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what} did not come true within ${timeout} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What a device saw of its end, in Date.now(). */
export interface Sight {
  /** The private content was gone. */
  gone?: number;
  /** The login page was painted. */
  login?: number;
}

/** Notes when the pages of a device go away. Called before they are opened. */
export async function stopwatch(context: BrowserContext): Promise<Map<Page, Sight>> {
  const sights = new Map<Page, Sight>();
  await context.exposeBinding("curfewSaw", ({ page }, what: keyof Sight, at: number) => {
    sights.set(page, { [what]: at, ...sights.get(page) });
  });
  await context.addInitScript(() => {
    const saw = (what: string) => (window as unknown as { curfewSaw(what: string, at: number): void }).curfewSaw(what, Date.now());
    addEventListener("DOMContentLoaded", () => {
      if (document.querySelector("input#login")) return requestAnimationFrame(() => saw("login"));
      const observer = new MutationObserver(() => {
        if (document.querySelector("main")) return;
        observer.disconnect();
        saw("gone");
      });
      observer.observe(document.body, { childList: true });
    });
  });
  return sights;
}

const sorted = (times: number[]) => [...times].sort((a, b) => a - b);

/** What is held against a limit. A machine that is busy with something else for
 * a moment says nothing about Curfew; the line below shows that moment, too. */
export const median = (times: number[]): number => sorted(times)[Math.floor(times.length / 2)]!;

/** A line about measured times, for the report. */
export function describeTimes(name: string, times: number[]): string {
  return `${name}: ${times.length} times, min ${sorted(times)[0]} ms, median ${median(times)} ms, max ${sorted(times).at(-1)} ms (${times.join(", ")})`;
}

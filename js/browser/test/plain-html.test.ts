// The two pages of the first example: no framework, a token in the browser's
// storage, and a Log Off button.

import { spawn } from "node:child_process";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from "vitest";
import { alice, devForTest, isActive, startDev } from "../src/authority.js";
import type { Authority } from "../src/authority.js";
import { violations } from "../src/axe.js";
import { device, launch, until, watch } from "../src/chromium.js";

let browser: Browser;
let authority: Authority;
let url: string;
const servers: (() => void)[] = [];
beforeAll(async () => {
  [browser, authority] = await Promise.all([launch({ ignoreDefaultArgs: ["--disable-back-forward-cache"] }), startDev()]);
  url = await serve(authority);
});
afterAll(async () => {
  for (const stop of servers) stop();
  await Promise.all([browser?.close(), authority?.stop()]);
});

/** Starts the example's own server and returns where its pages are. */
function serve(authority: Authority): Promise<string> {
  const child = spawn(process.execPath, [join(inject("root"), "examples/plain-html/serve.mjs"), "--port", "0", "--authority", authority.url], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  servers.push(() => child.kill());
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.stdout.setEncoding("utf8").once("data", (text: string) => resolve(/http:\/\/[\d.:]+/.exec(text)![0]));
  });
}

async function logIn(page: Page, at = url, storage: "session" | "local" = "session") {
  await page.goto(at + "/Login.html");
  await page.getByLabel("E-mail or user name").fill(alice.login);
  await page.getByLabel("Password").fill(alice.password);
  await page.locator(`#${storage}`).check();
  await page.getByRole("button", { name: "Login" }).click();
  await page.getByRole("heading", { name: "Employees" }).waitFor();
}

const loadEmployees = async (page: Page) => {
  await page.getByRole("button", { name: "Load Employees" }).click();
  await page.getByRole("row").filter({ hasText: "Lamplighter" }).waitFor();
};

/** The record of the session, wherever it lies. */
const record = (page: Page) =>
  page.evaluate(() => {
    for (const [where, box] of Object.entries({ session: sessionStorage, local: localStorage })) {
      for (const [name, text] of Object.entries(box)) {
        if (name.endsWith(".session")) return { where, ...(JSON.parse(text as string) as { access: string; refresh: string }) };
      }
    }
    return null;
  });

test.each(["session", "local"] as const)("with %s storage: log in, load employees, Log Off; Back shows nothing, and the token is dead", async (where) => {
  const page = await (await device(browser)).newPage();
  const trouble = await watch(page, url);
  await logIn(page, url, where);
  await loadEmployees(page);
  const before = (await record(page))!;
  expect(before.where).toBe(where);
  await page.getByRole("button", { name: "Log Off" }).click();
  await page.waitForURL(/Login\.html/);
  await page.getByRole("status").filter({ hasText: "You have logged off." }).waitFor();
  expect(await record(page)).toBe(null);
  expect(await isActive(authority, before.access)).toBe(false);
  expect(await isActive(authority, before.refresh)).toBe(false);
  await page.evaluate(() => history.back());
  await page.getByRole("heading", { name: "Login" }).waitFor();
  expect(await page.content()).not.toContain("Lamplighter");
  await page.goto(url + "/Data.html");
  await page.waitForURL(/Login\.html/);
  expect(trouble.csp).toEqual([]);
  expect(trouble.errors).toEqual([]);
  expect(trouble.foreign.filter((to) => !to.startsWith(authority.url))).toEqual([]);
});

test("what the token guards cannot be had without it", async () => {
  const page = await (await device(browser)).newPage();
  await page.goto(url + "/Data.html");
  await page.waitForURL(/Login\.html/);
  expect(await page.evaluate((to) => fetch(to + "/demo/employees").then((r) => r.status), authority.url)).toBe(401);
});

test("session storage ends with the tab; local storage does not", async () => {
  const context = await device(browser);
  const page = await context.newPage();
  await logIn(page);
  await page.close();
  const next = await context.newPage();
  await next.goto(url + "/Data.html");
  await next.waitForURL(/Login\.html/);

  await logIn(next, url, "local");
  await next.close();
  const third = await context.newPage();
  await third.goto(url + "/Data.html");
  await third.getByRole("heading", { name: "Employees" }).waitFor();
});

test("a link that opens a new tab is signed in there too, and Log Off ends both", async () => {
  const context = await device(browser);
  const page = await context.newPage();
  await logIn(page);
  await loadEmployees(page);
  const second = await context.newPage();
  await second.goto(url + "/Data.html");
  await loadEmployees(second);
  await second.getByRole("button", { name: "Log Off" }).click();
  await page.waitForURL(/Login\.html/);
  expect(await page.content()).not.toContain("Lamplighter");
});

test("logged off by itself when the time is over, and it says so", async () => {
  const short = await devForTest({ lifetime: "3s", accessLife: "2s" });
  const at = await serve(short);
  const page = await (await device(browser)).newPage();
  await logIn(page, at);
  await loadEmployees(page);
  await page.waitForURL(/Login\.html/);
  await page.getByRole("status").filter({ hasText: "Your session has expired" }).waitFor();
  expect(await record(page)).toBe(null);
});

test("short tokens are renewed: the session is longer than they are", async () => {
  const short = await devForTest({ accessLife: "2s" });
  const at = await serve(short);
  const page = await (await device(browser)).newPage();
  await logIn(page, at);
  const { access } = (await record(page))!;
  await until(async () => (await record(page))!.access !== access, "the next token");
  await loadEmployees(page);
});

test("logged off from another device, and it says so", async () => {
  const page = await (await device(browser)).newPage();
  await logIn(page);
  await loadEmployees(page);
  await authority.operator("logout", "--user", alice.login);
  await page.waitForURL(/Login\.html/);
  await page.getByRole("status").filter({ hasText: "An administrator logged you off." }).waitFor();
});

test("inactivity: a warning that counts down, then logged off", async () => {
  const page = await (await device(browser)).newPage();
  await page.goto(url + "/Login.html?idle=4");
  await page.getByLabel("E-mail or user name").fill(alice.login);
  await page.getByLabel("Password").fill(alice.password);
  await page.getByRole("button", { name: "Login" }).click();
  await page.getByRole("alertdialog", { name: "Are you still there?" }).waitFor();
  await page.getByRole("status").filter({ hasText: "because nothing happened here" }).waitFor();
  expect(await page.content()).not.toContain("Lamplighter");
});

test("with the authority away, Log Off clears this computer and is delivered later", async () => {
  const context = await device(browser);
  const page = await context.newPage();
  await logIn(page, url, "local");
  const { refresh } = (await record(page))!;
  await page.route(authority.url + "/**", (route) => route.abort());
  await page.getByRole("button", { name: "Log Off" }).click();
  await page.getByRole("status").filter({ hasText: "will be told as soon as it can be" }).waitFor();
  expect(await record(page)).toBe(null);
  await page.unroute(authority.url + "/**");
  await page.reload();
  await until(async () => !(await isActive(authority, refresh)), "the delivery");
});

test.each(["light", "dark"] as const)("axe-core finds nothing: %s", async (colorScheme) => {
  const page = await (await device(browser, { colorScheme })).newPage();
  await page.goto(url + "/Login.html?reason=idle");
  await page.getByRole("status").filter({ hasText: "nothing happened" }).waitFor();
  expect(await violations(page)).toEqual([]);
  await logIn(page);
  await loadEmployees(page);
  expect(await violations(page)).toEqual([]);
  onTestFinished(() => page.close());
});

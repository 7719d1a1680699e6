// A bare page with @curfew/client, and how tests use it.

import { join } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import type { Client, Events, Options } from "@curfew/client";
import { inject } from "vitest";
import { alice } from "./authority.js";
import { startSite } from "./site.js";
import type { Site } from "./site.js";

/** What lies in the window of the page. */
declare global {
  var client: Client;
  var events: Heard[];
}

export interface Heard {
  name: keyof Events;
  /** Date.now(), not that of a test that has changed it. */
  at: number;
  reason?: string;
  secondsLeft?: number;
  code?: string;
}

const html = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Client</title>
<main><p id="private"></p></main>
<script type="module">
  import { createClient } from "/client/index.js";
  const now = window.realNow ?? Date.now;
  window.client = createClient(JSON.parse(new URLSearchParams(location.search).get("o")));
  window.events = [];
  for (const name of ["signedIn", "signedOut", "idleWarning", "idleCancelled", "delivered", "error"]) {
    client.on(name, ({ reason, secondsLeft, code }) => events.push({ name, at: now(), reason, secondsLeft, code }));
  }
  const show = () => {
    document.getElementById("private").textContent = client.state.session ? "Private to " + client.state.session.user.email : "";
  };
  client.subscribe(show);
  await client.ready;
  document.body.dataset.ready = "yes";
</script>`;

/** Serves the page and the client as it is shipped. */
export const startFixture = (): Promise<Site> =>
  startSite(
    { "/": html, "/frame": `<!doctype html><iframe sandbox="allow-scripts" src="/sandboxed"></iframe>` },
    { "/client/": join(inject("root"), "js/packages/client/dist") },
  );

export const address = (site: Site, options: Options) => `${site.url}/?o=${encodeURIComponent(JSON.stringify(options))}`;

/** Opens the page, and waits until the client knows who is there. */
export async function open(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(url);
  await settled(page);
  return page;
}

export const settled = (page: Page) => page.locator("body[data-ready]").waitFor({ state: "attached" });

/** Signs the demo user in. */
export async function enter(page: Page): Promise<void> {
  const result = await page.evaluate((who) => client.signIn(who), alice);
  if (!result.ok) throw new Error(`sign-in: ${JSON.stringify(result.error)}`);
}

export const status = (page: Page) => page.evaluate(() => client.state.status);

/** Waits until the tab is signed out and returns why. */
export async function reasonOut(page: Page, timeout = 10_000): Promise<string | undefined> {
  await page.waitForFunction(() => events.some(({ name }) => name === "signedOut"), null, { timeout, polling: 20 });
  return (await heard(page, "signedOut"))[0]!.reason;
}

export const heard = async (page: Page, name: keyof Events): Promise<Heard[]> => (await page.evaluate(() => events)).filter((e) => e.name === name);

export interface Tokens {
  access: string;
  refresh: string;
  logout: string;
}

/** The tokens as they lie in the storage. */
export async function stored(page: Page, where: "session" | "local" = "session"): Promise<Tokens> {
  const text = await page.evaluate((where) => (where === "local" ? localStorage : sessionStorage).getItem("curfew.session"), where);
  if (!text) throw new Error("nothing is stored");
  return JSON.parse(text) as Tokens;
}

/** Everything that is stored, in one text. */
export const storage = (page: Page) => page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]));

import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { expect, it, vi } from "vitest";
import { createClient, isCurfewError } from "../src/index.js";
import { Authority } from "./authority.js";

it("works in Node: no window, memory only, no stream, no error", async () => {
  const authority = new Authority();
  authority.idle = 1;
  const c = createClient({ url: `${authority.url}/`, fetch: authority.fetch });
  const errors = vi.fn();
  c.on("error", errors);
  expect(c.state.status).toBe("loading");
  expect((await c.ready).status).toBe("signedOut");
  const r = await c.signIn({ login: "alice@test", password: "correct" });
  expect(r.ok).toBe(true);
  expect((await c.fetch(`${authority.url}/api/x`)).status).toBe(200);
  expect(authority.calls("/sessions/events")).toEqual([]);
  expect((await c.signOut()).ok).toBe(true);
  expect(errors).not.toHaveBeenCalled();
});

it("can be made on a server with a path as its address", async () => {
  const c = createClient({ url: "/auth" });
  expect((await c.ready).status).toBe("signedOut");
  expect(await c.signIn({ login: "a", password: "b" })).toMatchObject({ ok: false, error: { code: "network" } });
  c.close();
});

it("tells its errors from others", async () => {
  const c = createClient({ url: "https://id.test", fetch: () => Promise.reject(new Error("down")) });
  const r = await c.signIn({ login: "a", password: "b" });
  expect(isCurfewError(!r.ok && r.error)).toBe(true);
  expect(isCurfewError(new Error("x"))).toBe(false);
  expect(isCurfewError(null)).toBe(false);
});

it("keeps no process alive, and touches nothing when it is imported", () => {
  const script = `
    import { createClient } from ${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)};
    const body = { access_token: "a", refresh_token: "r", logout_token: "l", session_id: "s", expires_in: 600, session_expires_in: 9000, idle_timeout: 900, user: { id: "u", email: "e" } };
    const c = createClient({ url: "https://id.test", fetch: async () => Response.json(body) });
    const r = await c.signIn({ login: "a", password: "b" });
    console.log(r.ok, c.state.status);
  `;
  const run = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8", timeout: 20_000 });
  expect([run.stdout.trim(), run.stderr, run.status]).toEqual(["true signedIn", "", 0]);
});

it("never logs, and depends on nothing", () => {
  for (const f of readdirSync(new URL("../src", import.meta.url))) {
    const text = readFileSync(new URL(`../src/${f}`, import.meta.url), "utf8");
    // one console.error, for the errors of other people's listeners
    expect(text.match(/console\.\w+/g) ?? []).toEqual(f === "client.ts" ? ["console.error"] : []);
    for (const [, from] of text.matchAll(/from "(.+)"/g)) expect(from).toMatch(/^\.\//);
  }
});

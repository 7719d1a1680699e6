import { describe, expect, it } from "vitest";
import { fresh, pass, seconds, signedIn, sleep, world } from "./setup.js";

fresh();
const api = "https://api.test/api/things";
const allow = ["https://api.test/ignored/path"];
const auth = (path: string) => world.authority.calls(path).map((c) => c.headers.get("Authorization"));

describe("fetch", () => {
  it("sends the token to the authority, the page's own origin and those allowed", async () => {
    const { client, session } = await signedIn(world.browser.tab(), { allow });
    for (const url of [api, "https://app.test/api/a", "/api/b", "https://id.test/sessions", new URL(api), new Request(api)]) {
      const n = world.authority.log.length;
      await client.fetch(url);
      expect(world.authority.log[n]!.headers.get("Authorization")).toBe(`Bearer ${session.accessToken}`);
    }
  });

  it.each([
    "https://evil.test/api",
    "http://api.test/api",
    "https://api.test:8443/api",
    "https://api.test.evil.test/api",
    "https://api.test@evil.test/api",
    "//evil.test/api",
    "data:text/plain,x",
    "blob:https://evil.test/1",
  ])("does not send it to %s", async (url) => {
    const { client } = await signedIn(world.browser.tab(), { allow });
    const n = world.authority.log.length;
    await client.fetch(url).catch(() => {});
    expect(world.authority.log.length).toBeGreaterThan(n);
    for (const c of world.authority.log.slice(n)) expect(c.headers.has("Authorization")).toBe(false);
  });

  it("leaves an Authorization of one's own alone", async () => {
    const { client } = await signedIn(world.browser.tab(), { allow });
    await client.fetch(api, { headers: { authorization: "Basic x" } });
    expect(auth(api)).toEqual(["Basic x"]);
  });

  it("keeps method, headers and body, and plays them again after a 401", async () => {
    const { client, session } = await signedIn(world.browser.tab(), { allow, events: false });
    const send = [
      () => client.fetch(api, { method: "PUT", headers: { "X-A": "1" }, body: "a=1" }),
      () => client.fetch(new Request(api, { method: "PUT", headers: { "X-A": "1" }, body: "a=1" })),
      () => client.fetch(new Request(api, { method: "POST", body: "b=2" }), { method: "PUT", headers: { "X-A": "1" }, body: "a=1" }),
    ];
    for (const s of send) {
      world.authority.access.get(client.state.session!.accessToken)!.until = 0;
      const n = world.authority.calls(api).length;
      const res = await s();
      expect(await res.json()).toEqual({ hello: "alice@test", body: "a=1" });
      const calls = world.authority.calls(api).slice(n);
      expect(calls).toHaveLength(2);
      for (const c of calls) {
        expect([c.method, c.headers.get("X-A"), c.form.toString()]).toEqual(["PUT", "1", "a=1"]);
      }
      expect(calls[0]!.headers.get("Authorization")).not.toBe(calls[1]!.headers.get("Authorization"));
    }
    void session;
  });

  it("tries a stream once only", async () => {
    const { client, session } = await signedIn(world.browser.tab(), { allow, events: false });
    world.authority.access.get(session.accessToken)!.until = 0;
    const body = new Blob(["a=1"]).stream();
    const res = await client.fetch(api, { method: "PUT", body, duplex: "half" } as RequestInit);
    expect(res.status).toBe(401);
    expect(world.authority.calls(api)).toHaveLength(1);
  });

  it("refreshes first where the token is about to end", async () => {
    const { client } = await signedIn(world.browser.tab(), { allow, events: false });
    await sleep(595_000);
    expect((await Promise.all([client.fetch(api), seconds(1)]))[0].status).toBe(200);
    expect(world.authority.calls(api)).toHaveLength(1);
  });

  it("gives back the 401 where the session is over, and signs out", async () => {
    const { client, session } = await signedIn(world.browser.tab(), { allow, events: false });
    world.authority.end(session.id, "admin");
    expect((await client.fetch(api)).status).toBe(401);
    expect(client.heard.signedOut).toEqual([{ reason: "revoked" }]);
    expect(world.authority.calls(api)).toHaveLength(1);
  });

  it("gives back the 401 of a service that refuses good tokens, after one more attempt", async () => {
    const { client } = await signedIn(world.browser.tab(), { allow });
    world.authority.modes.set(api, 401);
    expect((await client.fetch(api)).status).toBe(401);
    expect(world.authority.calls(api)).toHaveLength(2);
    expect(client.state.status).toBe("signedIn");
  });

  it("does not use the token of the next person for the request of the one before", async () => {
    const { client, session } = await signedIn(world.browser.tab(), { allow, events: false });
    world.authority.access.get(session.accessToken)!.until = 0;
    world.authority.delay = 500;
    const r = client.fetch(api);
    await pass(100);
    void client.signOut();
    world.authority.delay = 0;
    await client.signIn({ login: "bob@test", password: "correct" });
    await seconds(2);
    expect((await r).status).toBe(401);
    expect(world.authority.calls(api)).toHaveLength(1);
  });

  it("goes without a token where nobody is signed in", async () => {
    const c = world.browser.tab().client({ allow });
    const r = c.fetch(api);
    await pass(200);
    expect((await r).status).toBe(401);
    expect(auth(api)).toEqual([null]);
  });

  it("rejects as fetch does when the network is down", async () => {
    const { client } = await signedIn(world.browser.tab(), { allow });
    world.authority.modes.set(api, "down");
    await expect(client.fetch(api)).rejects.toThrow("Failed to fetch");
    world.authority.modes.set(api, "hang");
    const abort = new AbortController();
    const r = client.fetch(api, { signal: abort.signal });
    abort.abort();
    await expect(r).rejects.toThrow("abort");
  });

  it("uses the fetch it is given", async () => {
    const seen: string[] = [];
    const { client } = await signedIn(world.browser.tab(), { allow, fetch: (i, n) => (seen.push(String(i)), world.authority.fetch(i, n)) });
    await client.fetch(api);
    expect(seen).toContain(api);
    expect(seen).toContain("https://id.test/token");
  });
});

import type { Options } from "@curfew/client";
import { act, render, screen, waitFor } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { AuthProvider, LogoutButton, RequireAuth, SignedOut, useAuth, useSessions } from "../src/index.js";
import type { Auth } from "../src/index.js";

// The real client, with an authority that is a function.

const encoder = new TextEncoder();

class Authority {
  /** Every call, as "METHOD /path". */
  calls: string[] = [];
  /** What /logout answers. */
  logout: () => Promise<Response> = async () =>
    Response.json({ message: "Logout successful", timestamp: "2026-11-21T08:00:00Z", scope: "local", sessions_ended: 1, revocation: { seq: 7, state: "enforced", verifiers: 2, took_ms: 6 } });
  /** Streams that are open, to tell browsers that their session has ended. */
  streams: ReadableStreamDefaultController<Uint8Array>[] = [];

  fetch = async (input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
    const { pathname } = new URL(String(input instanceof Request ? input.url : input));
    const call = `${init?.method ?? "GET"} ${pathname}`;
    this.calls.push(call);
    switch (call) {
      case "POST /token":
        return Response.json({
          access_token: "access-1", token_type: "Bearer", expires_in: 600, expires_at: 0, refresh_token: "cr_1", logout_token: "cl_1",
          session_id: "session-1", session_expires_in: 86_400, idle_timeout: 0,
          user: { id: "user-1", email: "alice@example.com", name: "Alice", roles: [], status: "active" },
        });
      case "POST /logout":
        return this.logout();
      case "GET /sessions/current":
        return Response.json({ session: { id: "session-1", expires_at: "2026-11-22T08:00:00Z", current: true }, expires_in: 86_400, idle_timeout: 0, user: { id: "user-1", email: "alice@example.com", name: "Alice", roles: [] } });
      case "GET /sessions":
        return Response.json({
          sessions: ["session-1", "session-2"].map((id, i) => ({
            id, client_id: "default", device: ["Here", "Phone"][i], user_agent: "", ip: "192.0.2.1",
            created_at: "2026-11-21T08:00:00Z", last_seen_at: "2026-11-21T08:00:00Z", expires_at: "2026-11-22T08:00:00Z", current: i === 0,
          })),
        });
      case "GET /sessions/events": {
        const body = new ReadableStream<Uint8Array>({ start: (stream) => void this.streams.push(stream) });
        return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
      }
      default:
        return Response.json({ code: 404, error_code: "not_found", msg: "Not found" }, { status: 404 });
    }
  };

  end(reason: string) {
    for (const stream of this.streams.splice(0)) {
      stream.enqueue(encoder.encode(`event: ended\ndata: {"reason":"${reason}","msg":"over"}\n\n`));
      stream.close();
    }
  }
}

let authority: Authority;
let options: Options;
let auth: Auth;
beforeEach(() => {
  authority = new Authority();
  options = { url: "http://authority.test", fetch: authority.fetch as typeof fetch };
});
afterEach(() => {
  sessionStorage.clear();
  localStorage.clear();
});

const Look = () => {
  auth = useAuth();
  return null;
};

async function start(inside = <></>) {
  const view = render(
    <AuthProvider options={options}>
      <Look />
      <SignedOut>{(reason) => <p>out: {reason}</p>}</SignedOut>
      <RequireAuth loading="One moment">{(user) => <p>in: {user.name}</p>}</RequireAuth>
      {inside}
    </AuthProvider>,
  );
  await waitFor(() => expect(auth.loading).toBe(false));
  return view;
}
async function signIn() {
  const result = await act(() => auth.signIn({ login: "alice@example.com", password: "secret" }));
  expect(result.ok).toBe(true);
  expect(screen.getByText("in: Alice")).toBeTruthy();
}
const stored = () => JSON.stringify([{ ...sessionStorage }, { ...localStorage }]);

describe("with the real client", () => {
  test("signs in, survives strict mode and a new mount, and never logs out by itself", async () => {
    const { unmount } = await start();
    await signIn();
    expect(auth.accessToken).toBe("access-1");
    unmount();
    await act(async () => {});
    await start();
    expect(screen.getByText("in: Alice")).toBeTruthy();
    expect(authority.calls).not.toContain("POST /logout");
    expect(authority.calls.filter((call) => call === "POST /token")).toHaveLength(1);
  });

  test("is signed out here before the authority answers", async () => {
    authority.logout = () => new Promise(() => {});
    await start(<LogoutButton />);
    await signIn();
    await userEvent.click(screen.getByRole("button"));
    expect(screen.queryByText("in: Alice")).toBeNull();
    expect(screen.getByText("out: user")).toBeTruthy();
    expect(screen.getByRole("button").textContent).toBe("Signing out…");
    expect(authority.calls).toContain("POST /logout");
    expect(stored()).not.toMatch(/access-1|cr_1|Alice/);
  });

  test("clearTokens is done when it returns", async () => {
    await start();
    await signIn();
    act(() => auth.clearTokens());
    expect(auth).toMatchObject({ accessToken: null, isAuthenticated: false });
    expect(stored()).not.toMatch(/access-1|cr_1/);
    await waitFor(() => expect(authority.calls).toContain("POST /logout"));
  });

  test.each([
    ["the network is down", async () => Promise.reject(new TypeError("Failed to fetch"))],
    ["the authority answers 500", async () => Response.json({ code: 500, error_code: "unexpected", msg: "Broken" }, { status: 500 })],
    ["the authority answers 503", async () => Response.json({ code: 503, error_code: "unavailable", msg: "Busy" }, { status: 503 })],
    ["the authority answers 429", async () => Response.json({ code: 429, error_code: "too_many_requests", msg: "Wait" }, { status: 429, headers: { "Retry-After": "1" } })],
  ])("is signed out although %s", async (_, answer) => {
    authority.logout = answer;
    const onDone = vi.fn();
    await start(<LogoutButton onDone={onDone} />);
    await signIn();
    await userEvent.click(screen.getByRole("button"));
    expect(screen.getByText("out: user")).toBeTruthy();
    await waitFor(() => expect(onDone).toHaveBeenCalledOnce());
    const [result] = onDone.mock.calls[0]!;
    expect(result.ok ? result.value.state : typeof result.error.code).toBe(result.ok ? "pending" : "string");
  });

  test("is gone when another device ends it", async () => {
    await start();
    await signIn();
    await waitFor(() => expect(authority.streams.length).toBeGreaterThan(0));
    act(() => authority.end("user_all"));
    expect(await screen.findByText("out: elsewhere")).toBeTruthy();
    expect(screen.queryByText("in: Alice")).toBeNull();
  });

  test("lists the devices", async () => {
    const List = () => <ul>{useSessions().sessions?.map(({ id, device }) => <li key={id}>{device}</li>)}</ul>;
    await start(<List />);
    await signIn();
    expect((await screen.findAllByRole("listitem")).map((li) => li.textContent)).toEqual(["Here", "Phone"]);
  });

  test("one stream, also in strict mode", async () => {
    await start();
    await signIn();
    await waitFor(() => expect(authority.calls).toContain("GET /sessions/events"));
    expect(authority.calls.filter((call) => call === "GET /sessions/events")).toHaveLength(1);
  });
});

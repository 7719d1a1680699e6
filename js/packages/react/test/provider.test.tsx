import { createClient } from "@curfew/client";
import { act, render, renderHook, screen } from "@testing-library/react";
import { useEffect, useLayoutEffect } from "react";
import type { ReactNode } from "react";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { AuthProvider, useAuth, useAuthEvent } from "../src/index.js";
import { fakeClient, LOADING, receipt, signedIn, signedOut } from "./fake.js";
import type { FakeClient } from "./fake.js";

vi.mock("@curfew/client", () => ({ createClient: vi.fn() }));

const made: FakeClient[] = [];
beforeEach(() => {
  made.length = 0;
  vi.mocked(createClient).mockReset().mockImplementation(() => {
    made.push(fakeClient());
    return made.at(-1)!.client;
  });
});

const options = { url: "/auth" };
const Who = () => <p>{useAuth().user?.name ?? useAuth().status}</p>;

function authOf(fake: FakeClient) {
  const wrapper = ({ children }: { children: ReactNode }) => <AuthProvider client={fake.client}>{children}</AuthProvider>;
  return renderHook(useAuth, { wrapper }).result;
}

describe("useAuth", () => {
  test("says outside of a provider what is missing", () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    expect(() => renderHook(useAuth)).toThrow("useAuth must be used within an AuthProvider");
  });

  test("gives what the seed's context gives", () => {
    expect(authOf(fakeClient()).current).toMatchObject({
      status: "signedIn",
      user: { name: "alice" },
      session: { id: "session-alice" },
      accessToken: "token-alice",
      isAuthenticated: true,
      loading: false,
      reason: null,
    });
  });

  test("does not give the refresh token", () => {
    expect(JSON.stringify(authOf(fakeClient()).current)).not.toContain("refreshToken");
  });

  test("is loading until the client has heard, and then follows it", () => {
    const fake = fakeClient(LOADING);
    const auth = authOf(fake);
    expect(auth.current).toMatchObject({ loading: true, isAuthenticated: false, user: null, accessToken: null });
    act(() => fake.become(signedIn()));
    expect(auth.current).toMatchObject({ loading: false, isAuthenticated: true });
    act(() => fake.become(signedOut("elsewhere")));
    expect(auth.current).toMatchObject({ isAuthenticated: false, user: null, reason: "elsewhere" });
  });

  test("signs in", async () => {
    const fake = fakeClient(signedOut());
    const auth = authOf(fake);
    await act(() => auth.current.signIn({ login: "bob", password: "secret" }));
    expect(auth.current.user?.name).toBe("bob");
  });

  test("logs out, and passes the scope on", async () => {
    const fake = fakeClient();
    const auth = authOf(fake);
    const result = await act(() => auth.current.logout({ scope: "global" }));
    expect(fake.client.signOut).toHaveBeenCalledExactlyOnceWith({ scope: "global" });
    expect(result).toEqual({ ok: true, value: receipt() });
    expect(auth.current.isAuthenticated).toBe(false);
  });

  test("logout of the others leaves this session", async () => {
    const fake = fakeClient();
    const auth = authOf(fake);
    await act(() => auth.current.logout({ scope: "others" }));
    expect(fake.client.signOut).not.toHaveBeenCalled();
    expect(auth.current.isAuthenticated).toBe(true);
  });

  test("clearTokens is done when it returns, and tells the authority", () => {
    const fake = fakeClient();
    fake.authority.answer = () => new Promise(() => {});
    const auth = authOf(fake);
    act(() => auth.current.clearTokens());
    expect(auth.current.accessToken).toBeNull();
    expect(fake.client.signOut).toHaveBeenCalledOnce();
  });

  test("does not render again when nothing has changed", () => {
    const fake = fakeClient();
    const auth = authOf(fake);
    const before = auth.current;
    act(() => fake.become(fake.client.state));
    expect(auth.current).toBe(before);
  });
});

describe("AuthProvider with a client", () => {
  test("leaves it open for whoever made it", async () => {
    const fake = fakeClient();
    const { unmount } = render(<AuthProvider client={fake.client}><Who /></AuthProvider>);
    unmount();
    await Promise.resolve();
    expect(fake.client.close).not.toHaveBeenCalled();
    expect(fake.client.signOut).not.toHaveBeenCalled();
    expect(fake.listening).toBe(0);
  });

  test("changes to another one", () => {
    const [a, b] = [fakeClient(signedIn("alice")), fakeClient(signedIn("bob"))];
    const { rerender } = render(<AuthProvider client={a.client}><Who /></AuthProvider>);
    rerender(<AuthProvider client={b.client}><Who /></AuthProvider>);
    expect(screen.getByText("bob")).toBeTruthy();
    expect(a.listening).toBe(0);
  });

  test("says what is missing without one", () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    expect(() => render(<AuthProvider {...({} as { options: typeof options })} />)).toThrow("AuthProvider needs `client` or `options`");
  });
});

describe("AuthProvider with options", () => {
  test("makes one client in strict mode, and neither closes it nor signs out", async () => {
    render(<AuthProvider options={options}><Who /></AuthProvider>);
    await act(async () => {});
    expect(createClient).toHaveBeenCalledExactlyOnceWith(options);
    expect(made[0]!.client.close).not.toHaveBeenCalled();
    expect(made[0]!.client.signOut).not.toHaveBeenCalled();
    expect(screen.getByText("alice")).toBeTruthy();
  });

  test("makes no other client for other options", () => {
    const { rerender } = render(<AuthProvider options={{ url: "/auth" }} />);
    rerender(<AuthProvider options={{ url: "/auth" }} />);
    expect(createClient).toHaveBeenCalledOnce();
  });

  test("closes it when unmounted, and does not sign out", async () => {
    const { unmount } = render(<AuthProvider options={options}><Who /></AuthProvider>);
    unmount();
    await Promise.resolve();
    expect(made[0]!.client.close).toHaveBeenCalledOnce();
    expect(made[0]!.client.signOut).not.toHaveBeenCalled();
    expect(made[0]!.listening).toBe(0);
  });

  test("makes none for a render that is thrown away", () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    const Broken = () => {
      throw new Error("broken");
    };
    expect(() => render(<AuthProvider options={options}><Broken /></AuthProvider>)).toThrow("broken");
    expect(createClient).not.toHaveBeenCalled();
  });

  test("gives effects of children, which come first, the same client", async () => {
    const heard = vi.fn();
    const Child = () => {
      const { client } = useAuth();
      useLayoutEffect(() => client.on("delivered", () => heard()), [client]);
      useEffect(() => client.on("delivered", () => heard()), [client]);
      useAuthEvent("delivered", heard);
      return null;
    };
    render(<AuthProvider options={options}><Child /></AuthProvider>);
    await act(async () => {});
    expect(createClient).toHaveBeenCalledOnce();
    act(() => made[0]!.emit("delivered", receipt()));
    expect(heard).toHaveBeenCalledTimes(3);
  });

  test("passes every call on", async () => {
    const { result } = renderHook(useAuth, { wrapper: ({ children }) => <AuthProvider options={options}>{children}</AuthProvider> });
    const { client } = result.current;
    const real = made[0]!.client;
    void client.fetch("/x", { method: "PUT" });
    expect(real.fetch).toHaveBeenCalledWith("/x", { method: "PUT" });
    await client.token();
    await client.refresh();
    client.stayActive();
    await client.changePassword({ current: "a", password: "b" });
    expect(await client.ready).toBe(client.state);
    for (const call of [real.token, real.refresh, real.stayActive, real.changePassword]) expect(call).toHaveBeenCalledOnce();
    client.close(); // The provider does that.
    expect(real.close).not.toHaveBeenCalled();
  });

  test("leaves nothing open for a call that comes too late", async () => {
    vi.useFakeTimers();
    const { result, unmount } = renderHook(useAuth, { wrapper: ({ children }) => <AuthProvider options={options}>{children}</AuthProvider> });
    const { client } = result.current;
    unmount();
    await Promise.resolve();
    expect(await client.token()).toBe("token-alice");
    vi.runAllTimers();
    expect(made).toHaveLength(2);
    expect(made[1]!.client.close).toHaveBeenCalledOnce();
    vi.useRealTimers();
  });
});

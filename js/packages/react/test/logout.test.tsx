import { act, render, renderHook, screen } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import type { ReactNode } from "react";
import { describe, expect, test, vi } from "vitest";
import { AuthProvider, LogoutButton, SignedIn, useAuth, useLogout } from "../src/index.js";
import type { LogoutSettings } from "../src/index.js";
import { bad, fakeClient, good, later, OFFLINE, receipt } from "./fake.js";
import type { FakeClient } from "./fake.js";
import type { Receipt, Result } from "@curfew/client";

const within = (fake: FakeClient) =>
  function Wrapper({ children }: { children: ReactNode }) {
    return <AuthProvider client={fake.client}>{children}</AuthProvider>;
  };

function logoutOf(fake: FakeClient, settings?: LogoutSettings) {
  return renderHook(() => ({ ...useLogout(settings), auth: useAuth() }), { wrapper: within(fake) }).result;
}

describe("useLogout", () => {
  test("is loading until the authority has answered; local state is gone before", async () => {
    const fake = fakeClient();
    const answer = later<Result<Receipt>>();
    fake.authority.answer = () => answer.promise;
    const hook = logoutOf(fake);
    expect(hook.current).toMatchObject({ loading: false, error: null, receipt: null });

    act(() => void hook.current.logout());
    expect(hook.current.auth.isAuthenticated).toBe(false);
    expect(hook.current.auth.accessToken).toBeNull();
    expect(hook.current.loading).toBe(true);

    await act(async () => answer.answer(good(receipt({ sessionsEnded: 1 }))));
    expect(hook.current).toMatchObject({ loading: false, error: null, receipt: { state: "enforced", sessionsEnded: 1 } });
  });

  test("an error is a value, and local state is gone all the same", async () => {
    const fake = fakeClient();
    fake.authority.answer = async () => bad();
    const hook = logoutOf(fake);
    const result = await act(() => hook.current.logout());
    expect(result).toEqual({ ok: false, error: OFFLINE });
    expect(hook.current).toMatchObject({ loading: false, error: { code: "network" }, receipt: null, auth: { isAuthenticated: false } });
  });

  test.each([
    ["rejects", async () => Promise.reject(new Error("wrapped"))],
    ["throws", () => { throw new Error("wrapped"); }],
  ])("a client that %s makes no unhandled rejection", async (_, signOut) => {
    const fake = fakeClient();
    fake.client.signOut.mockImplementation(signOut as never);
    const hook = logoutOf(fake);
    await act(async () => void hook.current.logout());
    expect(hook.current).toMatchObject({ loading: false, error: { code: "unexpected", message: "wrapped" } });
  });

  test("two clicks are one call, and both get its result", async () => {
    const fake = fakeClient();
    const hook = logoutOf(fake);
    const [a, b] = await act(() => Promise.all([hook.current.logout(), hook.current.logout()]));
    expect(fake.client.signOut).toHaveBeenCalledOnce();
    expect(a).toBe(b);
  });

  test("can be called again afterwards", async () => {
    const fake = fakeClient();
    fake.authority.answer = async () => bad();
    const hook = logoutOf(fake);
    await act(() => hook.current.logout());
    fake.authority.answer = async () => good(receipt());
    await act(() => hook.current.logout());
    expect(hook.current).toMatchObject({ error: null, receipt: { state: "enforced" } });
  });

  test("the scope of the call goes before the scope of the hook", async () => {
    const fake = fakeClient();
    const hook = logoutOf(fake, { scope: "global" });
    await act(() => hook.current.logout());
    await act(() => hook.current.logout({ scope: "local" }));
    expect(fake.client.signOut.mock.calls).toEqual([[{ scope: "global" }], [{ scope: "local" }]]);
  });

  test("can be given to onClick", async () => {
    const fake = fakeClient();
    const Own = () => <button onClick={useLogout().logout}>Out</button>;
    render(<Own />, { wrapper: within(fake) });
    await userEvent.click(screen.getByRole("button"));
    expect(fake.client.signOut).toHaveBeenCalledExactlyOnceWith({ scope: "local" });
  });

  test("tells onDone even when the component is gone", async () => {
    const fake = fakeClient();
    const answer = later<Result<Receipt>>();
    fake.authority.answer = () => answer.promise;
    const onDone = vi.fn();
    render(<SignedIn><LogoutButton onDone={onDone} /></SignedIn>, { wrapper: within(fake) });
    await userEvent.click(screen.getByRole("button"));
    expect(screen.queryByRole("button")).toBeNull();
    await act(async () => answer.answer(bad()));
    expect(onDone).toHaveBeenCalledExactlyOnceWith(bad());
  });

  test("redirects after a failure too", async () => {
    const fake = fakeClient();
    fake.authority.answer = async () => bad();
    const hook = logoutOf(fake, { redirect: "#failed" });
    await act(() => hook.current.logout());
    expect(location.hash).toBe("#failed");
  });

  test("redirects after two seconds when no answer comes", async () => {
    vi.useFakeTimers();
    const fake = fakeClient();
    fake.authority.answer = () => new Promise(() => {});
    const hook = logoutOf(fake, { redirect: "#silent" });
    await act(async () => void hook.current.logout());
    await act(() => vi.advanceTimersByTimeAsync(1900));
    expect(location.hash).not.toBe("#silent");
    await act(() => vi.advanceTimersByTimeAsync(200));
    expect(location.hash).toBe("#silent");
    vi.useRealTimers();
  });

  test("does not redirect where only the others are logged out", async () => {
    const hook = logoutOf(fakeClient(), { scope: "others", redirect: "#others" });
    await act(() => hook.current.logout());
    expect(location.hash).not.toBe("#others");
    expect(hook.current.auth.isAuthenticated).toBe(true);
  });
});

describe("LogoutButton", () => {
  test("logs out, shows that it works, and ignores a double click", async () => {
    const fake = fakeClient();
    const answer = later<Result<Receipt>>();
    fake.authority.answer = () => answer.promise;
    render(<LogoutButton className="mine" />, { wrapper: within(fake) });
    const button = screen.getByRole("button", { name: "Sign out" });
    expect(button.className).toBe("mine");
    expect(button.getAttribute("type")).toBe("button");

    await userEvent.dblClick(button);
    expect(fake.client.signOut).toHaveBeenCalledOnce();
    expect(button.textContent).toBe("Signing out…");
    expect(button.getAttribute("aria-busy")).toBe("true");
    expect(document.activeElement).toBe(button);

    await act(async () => answer.answer(good(receipt())));
    expect(button.textContent).toBe("Sign out");
    expect(button.hasAttribute("aria-disabled")).toBe(false);
  });

  test("takes labels, a scope and a ref", async () => {
    const fake = fakeClient();
    const ref = { current: null as HTMLButtonElement | null };
    render(<LogoutButton ref={ref} scope="global" labels={{ button: "Überall abmelden" }} />, { wrapper: within(fake) });
    await userEvent.click(screen.getByRole("button", { name: "Überall abmelden" }));
    expect(fake.client.signOut).toHaveBeenCalledWith({ scope: "global" });
    expect(ref.current?.tagName).toBe("BUTTON");
  });

  test("asks onClick first", async () => {
    const fake = fakeClient();
    render(<LogoutButton onClick={(e) => e.preventDefault()} />, { wrapper: within(fake) });
    await userEvent.click(screen.getByRole("button"));
    expect(fake.client.signOut).not.toHaveBeenCalled();
  });

  test("can be drawn by a function", async () => {
    const fake = fakeClient();
    render(<LogoutButton>{({ logout, loading }) => <a href="#x" onClick={logout}>{loading ? "…" : "Leave"}</a>}</LogoutButton>, { wrapper: within(fake) });
    await userEvent.click(screen.getByRole("link", { name: "Leave" }));
    expect(fake.client.signOut).toHaveBeenCalledOnce();
  });
});

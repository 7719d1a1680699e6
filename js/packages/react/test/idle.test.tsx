import { act, render, screen } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { describe, expect, test } from "vitest";
import { AuthProvider, IdleWarning } from "../src/index.js";
import type { IdleWarningProps } from "../src/index.js";
import { fakeClient, signedOut } from "./fake.js";

function show(props: IdleWarningProps = {}) {
  const fake = fakeClient();
  const { unmount } = render(
    <AuthProvider client={fake.client}>
      <input aria-label="Letter" />
      <IdleWarning {...props} />
    </AuthProvider>,
  );
  const warn = (secondsLeft: number) => act(() => fake.emit("idleWarning", { secondsLeft }));
  return { ...fake, warn, unmount, listening: () => fake.listening };
}
const dialog = () => screen.queryByRole("alertdialog");

describe("IdleWarning", () => {
  test("shows nothing until it is time, then an alert dialog with a count-down", () => {
    const { warn } = show();
    expect(dialog()).toBeNull();
    warn(65);
    expect(screen.getByRole("alertdialog", { name: "Are you still there?", description: /will be signed out. 65 seconds left/ })).toBe(dialog());
    expect(screen.getByRole("timer").textContent).toBe("1:05");
    warn(9);
    expect(screen.getByRole("timer").textContent).toBe("0:09");
    expect(document.activeElement).toBe(screen.getByRole("button", { name: "Stay signed in" }));
  });

  test("is read aloud at 30, 10 and 5 seconds, not each second", () => {
    const { warn } = show();
    const said = new Set<string | null>();
    for (let s = 60; s > 0; s--) {
      warn(s);
      said.add(document.querySelector("[aria-live=polite]")!.textContent);
    }
    expect([...said]).toEqual(["60 seconds left.", "30 seconds left.", "10 seconds left.", "5 seconds left."]);
  });

  test("says the real number after a browser has slept over the milestone", () => {
    const { warn } = show();
    warn(60);
    warn(8);
    expect(document.querySelector("[aria-live=polite]")!.textContent).toBe("8 seconds left.");
  });

  test("stay goes on, and gives the focus back", async () => {
    const { warn, client } = show();
    await userEvent.click(screen.getByRole("textbox"));
    warn(60);
    await userEvent.click(screen.getByRole("button", { name: "Stay signed in" }));
    expect(client.stayActive).toHaveBeenCalledOnce();
    expect(dialog()).toBeNull();
    expect(document.activeElement).toBe(screen.getByRole("textbox"));
    expect(client.signOut).not.toHaveBeenCalled();
  });

  test("Escape stays", async () => {
    const { warn, client } = show();
    warn(60);
    await userEvent.keyboard("{Escape}");
    expect(client.stayActive).toHaveBeenCalledOnce();
    expect(dialog()).toBeNull();
  });

  test("sign out now", async () => {
    const { warn, client } = show();
    warn(60);
    await userEvent.click(screen.getByRole("button", { name: "Sign out now" }));
    expect(client.signOut).toHaveBeenCalledExactlyOnceWith({ scope: "local" });
    expect(dialog()).toBeNull();
  });

  test("goes away when somebody is active in another tab", () => {
    const { warn, emit } = show();
    warn(60);
    act(() => emit("idleCancelled", {}));
    expect(dialog()).toBeNull();
  });

  test("stays until it is answered, although the client takes each key and press for activity", async () => {
    const { warn, emit, client } = show();
    const touch = () => act(() => emit("idleCancelled", {}));
    const options = { capture: true };
    addEventListener("pointerdown", touch, options);
    addEventListener("keydown", touch, options);
    try {
      warn(60);
      await userEvent.tab({ shift: true });
      expect(document.activeElement).toBe(screen.getByRole("button", { name: "Sign out now" }));
      await userEvent.keyboard("{Enter}");
      expect(client.signOut).toHaveBeenCalledOnce();
      await act(() => client.signIn({ login: "alice" }));

      warn(60);
      await userEvent.click(screen.getByRole("button", { name: "Sign out now" }));
      expect(client.signOut).toHaveBeenCalledTimes(2);
      await act(() => client.signIn({ login: "alice" }));

      warn(60);
      await userEvent.click(screen.getByRole("button", { name: "Stay signed in" }));
      expect(dialog()).toBeNull();

      warn(60);
      await userEvent.click(screen.getByRole("textbox")); // beside it
      expect(dialog()).toBeNull();
    } finally {
      removeEventListener("pointerdown", touch, options);
      removeEventListener("keydown", touch, options);
    }
  });

  test("goes away with the session, and does not come back with the next", async () => {
    const { warn, become, client } = show();
    warn(1);
    act(() => become(signedOut("idle")));
    expect(dialog()).toBeNull();
    await act(() => client.signIn({ login: "bob" }));
    expect(dialog()).toBeNull();
  });

  test("takes labels", () => {
    const { warn } = show({ className: "w", labels: { title: "Noch da?", countdown: (s) => `${s} s` } });
    warn(12);
    expect(screen.getByRole("alertdialog", { name: "Noch da?" }).className).toBe("w");
    expect(screen.getByRole("timer").textContent).toBe("12 s");
  });

  test("can be drawn by a function, and is still announced", () => {
    const { warn } = show({ children: ({ secondsLeft, titleId }) => <h3 id={titleId}>Only {secondsLeft}</h3> });
    warn(12);
    expect(screen.getByRole("alertdialog", { name: "Only 12", description: "12 seconds left." })).toBeTruthy();
  });

  test("leaves no listener behind", () => {
    const { warn, unmount, listening } = show();
    warn(12);
    unmount();
    expect(listening()).toBe(0);
  });
});

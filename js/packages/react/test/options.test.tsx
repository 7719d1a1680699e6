import { act, render, screen } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { describe, expect, test } from "vitest";
import { AuthProvider, LogoutOptions } from "../src/index.js";
import type { LogoutOptionsProps } from "../src/index.js";
import { bad, fakeClient, good, receipt } from "./fake.js";

function show(props: LogoutOptionsProps = {}) {
  const fake = fakeClient();
  render(
    <AuthProvider client={fake.client}>
      <LogoutOptions {...props} />
      <a href="#next">Next</a>
    </AuthProvider>,
  );
  return { ...fake, button: screen.getByRole("button") };
}
const focused = () => document.activeElement?.textContent;
const isOpen = () => screen.queryByRole("menu") !== null;

describe("LogoutOptions", () => {
  test("is a menu button", async () => {
    const { button } = show();
    expect(button.getAttribute("aria-haspopup")).toBe("menu");
    expect(button.getAttribute("aria-expanded")).toBe("false");
    await userEvent.click(button);
    expect(button.getAttribute("aria-expanded")).toBe("true");
    expect(button.getAttribute("aria-controls")).toBe(screen.getByRole("menu", { name: "Sign out…" }).id);
    expect(screen.getAllByRole("menuitem").map((item) => item.textContent)).toEqual(["This device", "All devices", "All other devices"]);
    await userEvent.click(button);
    expect(isOpen()).toBe(false);
  });

  test("goes by keyboard", async () => {
    const { button } = show();
    button.focus();
    const seen: unknown[] = [];
    for (const key of ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Home", "End", "t", "a", "a", "x"]) {
      await userEvent.keyboard(`{${key}}`);
      seen.push(focused());
    }
    const [local, global, others] = ["This device", "All devices", "All other devices"];
    expect(seen).toEqual([local, global, others, local, others, local, others, local, global, others, others]);

    await userEvent.keyboard("{Escape}");
    expect(isOpen()).toBe(false);
    expect(document.activeElement).toBe(button);
    await userEvent.keyboard("{ArrowUp}");
    expect(focused()).toBe(others);
    await userEvent.tab();
    expect(isOpen()).toBe(false);
    expect(focused()).toBe("Next");
    await userEvent.tab({ shift: true });
    await userEvent.keyboard("{Enter}");
    expect(focused()).toBe(local);
  });

  test("closes when something else is clicked or focused", async () => {
    const { button } = show();
    await userEvent.click(button);
    await userEvent.click(document.body);
    expect(isOpen()).toBe(false);
    await userEvent.click(button);
    act(() => screen.getByRole("link").focus());
    expect(isOpen()).toBe(false);
  });

  test.each([
    ["This device", "local"],
    ["All devices", "global"],
  ])("%s", async (name, scope) => {
    const { client, button } = show();
    await userEvent.click(button);
    await userEvent.click(screen.getByRole("menuitem", { name }));
    expect(client.signOut).toHaveBeenCalledExactlyOnceWith({ scope });
    expect(client.state.status).toBe("signedOut");
    expect(isOpen()).toBe(false);
  });

  test("All other devices stays signed in and says what happened", async () => {
    const { client, button } = show();
    await userEvent.click(button);
    await userEvent.click(screen.getByRole("menuitem", { name: "All other devices" }));
    expect(client.signOut).not.toHaveBeenCalled();
    expect(client.state.status).toBe("signedIn");
    expect(screen.getByRole("status").textContent).toBe("Signed out on 2 other devices.");
    expect(document.activeElement).toBe(button);
  });

  test.each([
    [good(receipt({ sessionsEnded: 0 })), "You were signed in nowhere else."],
    [good(receipt({ sessionsEnded: 1 })), "Signed out on 1 other device."],
    [bad(), "No answer"],
  ])("says what came of it: %#", async (result, said) => {
    const { client, button } = show();
    client.sessions.endOthers.mockResolvedValue(result);
    await userEvent.click(button);
    await userEvent.keyboard("{End}{Enter}");
    expect(screen.getByRole("status").textContent).toBe(said);
  });

  test("offers what it is told, in other words", async () => {
    const { button, client } = show({ scopes: ["global"], labels: { global: "Überall" }, buttonClassName: "b", menuClassName: "m", className: "c" });
    expect(button.className).toBe("b");
    expect(button.parentElement?.className).toBe("c");
    await userEvent.click(button);
    expect(screen.getByRole("menu").className).toBe("m");
    await userEvent.click(screen.getByRole("menuitem", { name: "Überall" }));
    expect(client.signOut).toHaveBeenCalledWith({ scope: "global" });
  });

  test("can be drawn by a function", async () => {
    const { client } = show({ children: ({ logout }) => <button onClick={() => logout({ scope: "global" })}>Everywhere</button> });
    await userEvent.click(screen.getByRole("button", { name: "Everywhere" }));
    expect(client.signOut).toHaveBeenCalledWith({ scope: "global" });
  });
});

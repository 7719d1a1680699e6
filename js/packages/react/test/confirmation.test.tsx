import { act, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { userEvent } from "@testing-library/user-event";
import { describe, expect, test } from "vitest";
import { AuthProvider, LogoutWithConfirmation, SignedIn } from "../src/index.js";
import type { LogoutWithConfirmationProps } from "../src/index.js";
import { bad, fakeClient, signedOut } from "./fake.js";

async function open(props: LogoutWithConfirmationProps = {}, fake = fakeClient()) {
  render(
    <AuthProvider client={fake.client}>
      <LogoutWithConfirmation {...props} />
    </AuthProvider>,
  );
  const button = screen.getByRole("button");
  await userEvent.click(button);
  return { fake, button, dialog: screen.getByRole("dialog") };
}

describe("LogoutWithConfirmation", () => {
  test("asks in a modal dialog that is named and described", async () => {
    const { fake, dialog, button } = await open();
    expect(dialog.tagName).toBe("DIALOG");
    expect(screen.getByRole("dialog", { name: "Sign out?", description: /sign in again/ })).toBe(dialog);
    expect(button.getAttribute("aria-haspopup")).toBe("dialog");
    expect(fake.client.signOut).not.toHaveBeenCalled();
  });

  test("does not have the focus on the dangerous button", async () => {
    await open();
    expect(document.activeElement).toBe(screen.getByRole("button", { name: "Cancel" }));
  });

  test("signs out when confirmed, once", async () => {
    const { fake } = await open({ scope: "global" });
    await userEvent.dblClick(screen.getByRole("button", { name: "Yes, sign out" }));
    expect(fake.client.signOut).toHaveBeenCalledExactlyOnceWith({ scope: "global" });
    expect(screen.queryByRole("dialog")).toBeNull();
  });

  test("closes even if the authority cannot be told", async () => {
    const fake = fakeClient();
    fake.authority.answer = async () => bad();
    await open({}, fake);
    await userEvent.click(screen.getByRole("button", { name: "Yes, sign out" }));
    expect(screen.queryByRole("dialog")).toBeNull();
    expect(fake.client.state.status).toBe("signedOut");
  });

  test.each([
    ["Cancel", () => userEvent.click(screen.getByRole("button", { name: "Cancel" }))],
    ["Escape", () => userEvent.keyboard("{Escape}")],
    ["a click beside it", async () => {
      const at = { clientX: 50, clientY: 50 }; // jsdom has no layout: the dialog is a point at 0, 0
      fireEvent.mouseDown(screen.getByRole("dialog"), at);
      fireEvent.click(screen.getByRole("dialog"), at);
    }],
    ["a close that the browser did not ask about", async () => act(async () => screen.getByRole<HTMLDialogElement>("dialog").close())],
  ])("%s leaves the session and gives the focus back", async (_, leave) => {
    const { fake, button } = await open();
    await leave();
    await waitFor(() => expect(screen.queryByRole("dialog")).toBeNull());
    expect(document.activeElement).toBe(button);
    expect(fake.client.signOut).not.toHaveBeenCalled();
  });

  test("stays open when text is marked beyond its edge, or its padding clicked", async () => {
    const { dialog } = await open();
    fireEvent.mouseDown(screen.getByRole("heading"));
    fireEvent.click(dialog, { clientX: 50, clientY: 50 });
    fireEvent.mouseDown(dialog, { clientX: 0, clientY: 0 });
    fireEvent.click(dialog, { clientX: 0, clientY: 0 });
    expect(screen.getByRole("dialog")).toBe(dialog);
  });

  test("opens again", async () => {
    const { button } = await open();
    await userEvent.keyboard("{Escape}");
    await userEvent.click(button);
    expect(screen.getByRole("dialog")).toBeTruthy();
  });

  test("goes away with the session", async () => {
    const fake = fakeClient();
    render(<AuthProvider client={fake.client}><SignedIn><LogoutWithConfirmation /></SignedIn></AuthProvider>);
    await userEvent.click(screen.getByRole("button"));
    act(() => fake.become(signedOut("elsewhere")));
    expect(screen.queryByRole("dialog")).toBeNull();
  });

  test("takes labels and class names", async () => {
    await open({ className: "b", dialogClassName: "d", labels: { title: "Abmelden?", confirm: "Ja" } });
    expect(screen.getByRole("dialog", { name: "Abmelden?" }).className).toBe("d");
    expect(screen.getByRole("button", { name: "Ja" })).toBeTruthy();
  });

  test("can be drawn by a function", async () => {
    const { fake } = await open({
      children: ({ titleId, confirm }) => (
        <>
          <h3 id={titleId}>Leave?</h3>
          <button onClick={confirm}>Leave</button>
        </>
      ),
    });
    expect(screen.getByRole("dialog", { name: "Leave?" })).toBeTruthy();
    await userEvent.click(screen.getByRole("button", { name: "Leave" }));
    expect(fake.client.signOut).toHaveBeenCalledOnce();
  });
});

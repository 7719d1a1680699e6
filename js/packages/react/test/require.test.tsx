import { act, render, screen } from "@testing-library/react";
import { useState } from "react";
import { describe, expect, test, vi } from "vitest";
import { AuthProvider, RequireAuth, SignedIn, SignedOut } from "../src/index.js";
import type { RequireAuthProps } from "../src/index.js";
import { fakeClient, LOADING, signedIn, signedOut } from "./fake.js";
import type { State } from "@curfew/client";

const secret = vi.fn(() => <p>Salaries</p>);
const Secret = () => secret();

function show(state: State, props: RequireAuthProps = {}) {
  secret.mockClear();
  const fake = fakeClient(state);
  render(
    <AuthProvider client={fake.client}>
      <RequireAuth loading="One moment" fallback="Please sign in" {...props}>
        {props.children ?? <Secret />}
      </RequireAuth>
    </AuthProvider>,
  );
  return { become: (next: State) => act(() => fake.become(next)) };
}

describe("RequireAuth", () => {
  test("never renders its children for nobody", () => {
    const { become } = show(LOADING);
    expect(screen.getByText("One moment")).toBeTruthy();
    become(signedOut());
    expect(screen.getByText("Please sign in")).toBeTruthy();
    expect(secret).not.toHaveBeenCalled();
    become(signedIn());
    expect(screen.getByText("Salaries")).toBeTruthy();
    secret.mockClear();
    become(signedOut("elsewhere"));
    expect(screen.queryByText("Salaries")).toBeNull();
    expect(screen.getByText("Please sign in")).toBeTruthy();
    expect(secret).not.toHaveBeenCalled();
  });

  test("tells once, also in strict mode, and again the next time", () => {
    const onSignedOut = vi.fn();
    const { become } = show(signedIn(), { onSignedOut });
    expect(onSignedOut).not.toHaveBeenCalled();
    become(signedOut("idle"));
    expect(onSignedOut).toHaveBeenCalledExactlyOnceWith("idle");
    become(signedIn());
    become(signedOut("expired"));
    expect(onSignedOut.mock.calls).toEqual([["idle"], ["expired"]]);
  });

  test("tells at first too, without a reason", () => {
    const onSignedOut = vi.fn();
    show(signedOut(), { onSignedOut });
    expect(onSignedOut).toHaveBeenCalledExactlyOnceWith(null);
  });

  test("redirects, and does not while it is loading", () => {
    location.hash = "#private";
    const { become } = show(LOADING, { redirect: "#login" });
    expect(location.hash).toBe("#private");
    become(signedOut());
    expect(location.hash).toBe("#login");
  });

  test("redirects with the reason", () => {
    const { become } = show(signedIn(), { redirect: (reason) => `#login?reason=${reason}` });
    become(signedOut("replaced"));
    expect(location.hash).toBe("#login?reason=replaced");
  });

  test("gives the next person none of the last one's state", () => {
    const Draft = () => {
      const [draft] = useState(() => Math.random());
      return <output>{draft}</output>;
    };
    const { become } = show(signedIn("alice"), { children: <Draft /> });
    const alices = screen.getByRole("status").textContent;
    become({ ...signedIn("alice") }); // a refreshed token
    expect(screen.getByRole("status").textContent).toBe(alices);
    become(signedIn("bob"));
    expect(screen.getByRole("status").textContent).not.toBe(alices);
  });

  test("takes a function, which gets the person", () => {
    show(signedIn("bob"), { children: (user) => `Hello ${user.name}` });
    expect(screen.getByText("Hello bob")).toBeTruthy();
  });
});

test("SignedIn and SignedOut show one of them, and neither while loading", () => {
  const fake = fakeClient(LOADING);
  const { container } = render(
    <AuthProvider client={fake.client}>
      <SignedIn>{(user) => `in: ${user.name}`}</SignedIn>
      <SignedOut>{(reason) => `out: ${reason}`}</SignedOut>
    </AuthProvider>,
  );
  expect(container.textContent).toBe("");
  act(() => fake.become(signedIn()));
  expect(container.textContent).toBe("in: alice");
  act(() => fake.become(signedOut("reuse")));
  expect(container.textContent).toBe("out: reuse");
});

// @vitest-environment node
import { createClient } from "@curfew/client";
import { readdirSync, readFileSync } from "node:fs";
import { renderToString } from "react-dom/server";
import { describe, expect, test, vi } from "vitest";
import { AuthProvider, IdleWarning, LogoutButton, LogoutOptions, LogoutWithConfirmation, RequireAuth, SignedIn, SignedOut, useAuth, useSessions } from "../src/index.js";
import { fakeClient } from "./fake.js";

vi.mock("@curfew/client", () => ({ createClient: vi.fn() }));

function Everything() {
  const { status } = useAuth();
  const { sessions } = useSessions();
  return (
    <>
      <p>{status}</p>
      <p>{sessions ? "devices" : "no devices"}</p>
      <LogoutButton />
      <LogoutWithConfirmation />
      <LogoutOptions />
      <IdleWarning />
      <SignedIn>secret</SignedIn>
      <SignedOut>public</SignedOut>
      <RequireAuth loading="One moment" redirect="/login">secret</RequireAuth>
    </>
  );
}

describe("on a server", () => {
  test("there is no window, and no client is made", () => {
    expect(typeof window).toBe("undefined");
    const html = renderToString(<AuthProvider options={{ url: "/auth" }}><Everything /></AuthProvider>);
    expect(html).toContain("<p>loading</p>");
    expect(html).toContain("One moment");
    expect(html).not.toMatch(/secret|public|<dialog/);
    expect(createClient).not.toHaveBeenCalled();
  });

  test("a client that knows somebody gives nothing away", () => {
    const html = renderToString(<AuthProvider client={fakeClient().client}><Everything /></AuthProvider>);
    expect(html).toContain("<p>loading</p>");
    expect(html).not.toMatch(/secret|alice/);
  });
});

// Only React 19 is installed. This keeps out what 18 does not have.
test("needs nothing of React that 18 does not have", () => {
  const in18 = ["createContext", "forwardRef", "Fragment", "useCallback", "useContext", "useEffect", "useId", "useInsertionEffect", "useLayoutEffect", "useMemo", "useRef", "useState", "useSyncExternalStore"];
  const sources = new URL("../src/", import.meta.url);
  for (const file of readdirSync(sources)) {
    const text = readFileSync(new URL(file, sources), "utf8");
    for (const [, names] of text.matchAll(/import \{([^}]*)\} from "react"/g)) {
      for (const name of names!.split(",")) expect(in18, file).toContain(name.trim());
    }
    expect(text, file).not.toMatch(/<\w+Context value/);
  }
});

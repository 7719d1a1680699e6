import { act, screen } from "@testing-library/react";
import { StrictMode } from "react";
import { hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { expect, test } from "vitest";
import { AuthProvider, RequireAuth } from "../src/index.js";
import { fakeClient } from "./fake.js";

test("what a server has rendered is taken over without a mismatch", async () => {
  const fake = fakeClient();
  const app = (
    <StrictMode>
      <AuthProvider client={fake.client}>
        <RequireAuth loading={<p>One moment</p>}>{(user) => <p>Hello {user.name}</p>}</RequireAuth>
      </AuthProvider>
    </StrictMode>
  );
  const root = document.body.appendChild(document.createElement("div"));
  root.innerHTML = renderToString(app);
  expect(root.textContent).toBe("One moment");
  const problems: unknown[] = [];
  const hydrated = await act(async () => hydrateRoot(root, app, { onRecoverableError: (e) => problems.push(e) }));
  expect(screen.getByText("Hello alice")).toBeTruthy();
  expect(problems).toEqual([]);
  act(() => hydrated.unmount());
  root.remove();
});

import { cleanup, configure } from "@testing-library/react";
import { afterEach, beforeEach, expect, vi } from "vitest";

// React runs every effect twice, as it does in development.
configure({ reactStrictMode: true });

// Nothing may be left unhandled, and React must have nothing to complain about.
let complaints: unknown[][] = [];
beforeEach(() => {
  complaints = [];
  vi.spyOn(console, "error").mockImplementation((...args) => void complaints.push(args));
});
afterEach(() => {
  if (typeof document !== "undefined") cleanup();
  vi.restoreAllMocks();
  expect(complaints).toEqual([]);
});

// jsdom knows <dialog> but not how to open one. What matters of it here: `open`,
// the events, and where the focus goes. The real one is tested in Chromium.
if (typeof HTMLDialogElement !== "undefined") {
  const opened: { dialog: HTMLDialogElement; before: Element | null }[] = [];

  HTMLDialogElement.prototype.showModal = function () {
    if (this.open) throw new DOMException("already open", "InvalidStateError");
    opened.push({ dialog: this, before: document.activeElement });
    this.open = true;
    this.querySelector<HTMLElement>("button, [href], input, [tabindex]")?.focus();
  };
  HTMLDialogElement.prototype.close = function () {
    if (!this.open) return;
    this.open = false;
    const at = opened.findIndex(({ dialog }) => dialog === this);
    const [entry] = opened.splice(at, 1);
    if (entry?.before instanceof HTMLElement) entry.before.focus();
    queueMicrotask(() => this.dispatchEvent(new Event("close")));
  };
  document.addEventListener("keydown", (e) => {
    const top = opened.at(-1)?.dialog;
    if (e.key === "Escape" && top?.dispatchEvent(new Event("cancel", { cancelable: true }))) top.close();
  });
}

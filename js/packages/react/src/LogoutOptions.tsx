"use client";

import { useEffect, useId, useRef, useState } from "react";
import type { HTMLAttributes, KeyboardEvent, ReactElement, ReactNode } from "react";
import type { CurfewErrorLike, Receipt, Result, Scope } from "@curfew/client";
import { busy } from "./LogoutButton.js";
import { useLogout } from "./useLogout.js";
import type { Logout, LogoutSettings } from "./useLogout.js";

export interface LogoutOptionsLabels {
  button: ReactNode;
  working: ReactNode;
  local: ReactNode;
  others: ReactNode;
  global: ReactNode;
  /** Said when the other devices are signed out; this one stays and shows it. */
  othersDone: (receipt: Receipt) => ReactNode;
  /** Said when that failed. */
  failed: (error: CurfewErrorLike) => ReactNode;
}

const LABELS: LogoutOptionsLabels = {
  button: "Sign out…",
  working: "Signing out…",
  local: "This device",
  others: "All other devices",
  global: "All devices",
  othersDone: ({ sessionsEnded: n }) =>
    n === 0 ? "You were signed in nowhere else." : `Signed out on ${n} other ${n === 1 ? "device" : "devices"}.`,
  failed: ({ message }) => message,
};

export interface LogoutOptionsProps
  extends Omit<LogoutSettings, "scope">,
    Omit<HTMLAttributes<HTMLDivElement>, "children"> {
  labels?: Partial<LogoutOptionsLabels>;
  /** What the menu offers, in this order. */
  scopes?: readonly Scope[];
  /** `className` is that of the element around everything, these are the parts'. */
  buttonClassName?: string;
  menuClassName?: string;
  /** The content of the button, or a function that renders something else in place of all. */
  children?: ReactNode | ((logout: Logout) => ReactNode);
}

const SCOPES: readonly Scope[] = ["local", "global", "others"];

/** A menu button: sign out on this device, on all, on all others. */
export function LogoutOptions(props: LogoutOptionsProps): ReactElement {
  const { redirect, onDone, labels, scopes = SCOPES, buttonClassName, menuClassName, children, ...rest } = props;
  const text = { ...LABELS, ...labels };
  const [others, setOthers] = useState<Result<Receipt> | null>(null);
  const state = useLogout({ redirect, onDone });
  const { logout, loading } = state;
  /** The item that has the focus; null while the menu is closed. */
  const [at, setAt] = useState<number | null>(null);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const items = useRef<(HTMLButtonElement | null)[]>([]);
  const buttonId = useId();
  const menuId = useId();
  const open = at !== null;

  useEffect(() => {
    if (at !== null) items.current[at]?.focus();
  }, [at]);

  useEffect(() => {
    if (!open) return;
    const outside = (e: Event) => {
      if (!root.current?.contains(e.target as Node)) setAt(null);
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);

  if (typeof children === "function") return <>{children(state)}</>;

  const last = scopes.length - 1;
  const show = (index: number) => {
    if (!loading) setAt(index);
  };
  const close = () => {
    button.current?.focus();
    setAt(null);
  };
  const choose = async (scope: Scope) => {
    close();
    setOthers(null);
    const result = await logout({ scope });
    if (scope === "others") setOthers(result);
  };

  const onButtonKey = (e: KeyboardEvent) => {
    if (e.key === "ArrowDown") show(0);
    else if (e.key === "ArrowUp") show(last);
    else if (e.key === "Escape") setAt(null);
    else return;
    e.preventDefault();
  };
  const onMenuKey = (e: KeyboardEvent) => {
    const here = at ?? 0;
    if (e.key === "ArrowDown") setAt(here === last ? 0 : here + 1);
    else if (e.key === "ArrowUp") setAt(here === 0 ? last : here - 1);
    else if (e.key === "Home") setAt(0);
    else if (e.key === "End") setAt(last);
    else if (e.key === "Escape") close();
    else if (e.key === "Tab") return close(); // From the button, where the browser goes on by itself.
    else if (/^\S$/.test(e.key) && !e.ctrlKey && !e.metaKey && !e.altKey) setAt(startingWith(items.current, e.key, here) ?? here);
    else return;
    e.preventDefault();
  };

  return (
    <div data-curfew="logout-options" {...rest} ref={root}>
      <button
        ref={button}
        id={buttonId}
        type="button"
        className={buttonClassName}
        data-curfew="logout"
        {...busy(loading)}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? menuId : undefined}
        onClick={() => (open ? setAt(null) : show(0))}
        onKeyDown={onButtonKey}
      >
        {loading ? text.working : (children ?? text.button)}
      </button>
      {open && (
        <div id={menuId} role="menu" className={menuClassName} data-curfew="menu" aria-labelledby={buttonId} onKeyDown={onMenuKey}>
          {scopes.map((scope, i) => (
            <button
              key={scope}
              ref={(el) => void (items.current[i] = el)}
              type="button"
              role="menuitem"
              tabIndex={-1}
              data-curfew="menu-item"
              data-scope={scope}
              onClick={() => void choose(scope)}
            >
              {text[scope]}
            </button>
          ))}
        </div>
      )}
      <span role="status" data-curfew="logout-status">
        {others && (others.ok ? text.othersDone(others.value) : text.failed(others.error))}
      </span>
    </div>
  );
}

/** The next item whose text begins with `letter`, seen from `here`. */
function startingWith(items: readonly (HTMLElement | null)[], letter: string, here: number): number | undefined {
  for (let step = 1; step <= items.length; step++) {
    const i = (here + step) % items.length;
    if (items[i]?.textContent?.toLowerCase().startsWith(letter.toLowerCase())) return i;
  }
}

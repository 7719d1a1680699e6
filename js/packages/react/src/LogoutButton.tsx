"use client";

import { forwardRef } from "react";
import type { ButtonHTMLAttributes, MouseEvent, ReactElement, ReactNode } from "react";
import { useLogout } from "./useLogout.js";
import type { Logout, LogoutSettings } from "./useLogout.js";

export interface LogoutButtonLabels {
  button: ReactNode;
  /** While the authority has not answered. */
  working: ReactNode;
}

const LABELS: LogoutButtonLabels = { button: "Sign out", working: "Signing out…" };

export interface LogoutButtonProps extends LogoutSettings, Omit<ButtonHTMLAttributes<HTMLButtonElement>, "children"> {
  labels?: Partial<LogoutButtonLabels>;
  /** The content of the button, or a function that renders something else in its place. */
  children?: ReactNode | ((logout: Logout) => ReactNode);
}

/** A button that logs out at once. */
export const LogoutButton = forwardRef<HTMLButtonElement, LogoutButtonProps>(function LogoutButton(
  { scope, redirect, onDone, labels, children, onClick, ...rest },
  ref,
): ReactElement {
  const state = useLogout({ scope, redirect, onDone });
  if (typeof children === "function") return <>{children(state)}</>;

  const text = { ...LABELS, ...labels };
  const click = (e: MouseEvent<HTMLButtonElement>) => {
    onClick?.(e);
    if (!e.defaultPrevented) void state.logout();
  };
  return (
    <button ref={ref} type="button" data-curfew="logout" {...rest} {...busy(state.loading)} onClick={click}>
      {state.loading ? text.working : (children ?? text.button)}
    </button>
  );
});

/**
 * Says that a button is at work. It is not disabled in the strict sense, because
 * a disabled button loses the focus; `useLogout` takes care of a second click.
 */
export function busy(loading: boolean): { "aria-disabled"?: true; "aria-busy"?: true } {
  return loading ? { "aria-disabled": true, "aria-busy": true } : {};
}

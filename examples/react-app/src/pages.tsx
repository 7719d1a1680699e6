import { useEffect, useRef, useSyncExternalStore } from "react";
import type { ReactNode } from "react";

export type Page = "employees" | "devices";

/** The page that the address names. Two pages need no router. */
export function usePage(): Page {
  const hash = useSyncExternalStore(onHashChange, () => location.hash);
  return hash === "#/devices" ? "devices" : "employees";
}

function onHashChange(listener: () => void) {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
}

/** The heading of a page. It takes the focus, so that screen readers say where they are. */
export function Heading({ title, children }: { title: string; children?: ReactNode }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  return (
    <div className="heading">
      <title>{`${title} · Night staff`}</title>
      <h1 ref={heading} tabIndex={-1}>{title}</h1>
      {children && <p>{children}</p>}
    </div>
  );
}

import { useInsertionEffect, useRef } from "react";

/** A reference to what the last finished render was given, for use in callbacks. */
export function useLatest<T>(value: T): { readonly current: T } {
  const ref = useRef(value);
  // Insertion effects come before all others, and not on servers.
  useInsertionEffect(() => {
    ref.current = value;
  });
  return ref;
}

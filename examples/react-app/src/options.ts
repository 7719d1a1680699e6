import type { Options } from "@curfew/client";

/** Where the authority is. `curfew dev` listens here by itself. */
export const authority: string = (import.meta.env.VITE_AUTHORITY ?? "http://127.0.0.1:8080").replace(/\/$/, "");

// `?idle=20` signs out after 20 seconds without a key or a pointer, for those
// who do not want to wait for half an hour to see the warning.
const idle = Number(new URLSearchParams(location.search).get("idle")) || 0;

export const options: Options = {
  url: authority,
  clientId: "react-app",
  key: "curfew-react-app",
  ...(idle > 0 && { idleTimeout: idle, idleWarning: Math.min(60, Math.ceil(idle / 2)) }),
};

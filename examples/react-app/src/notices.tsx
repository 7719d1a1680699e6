import { useAuthEvent } from "@curfew/react";
import type { Receipt, Result } from "@curfew/client";
import { useState } from "react";
import { done, ended } from "./words";

export interface Notice {
  text: string;
  kind: "good" | "warn" | "info";
}

/** The last thing that happened to the session, to be shown wherever one is now. */
export function useNotices() {
  const [notice, setNotice] = useState<Notice | null>(null);
  useAuthEvent("signedIn", () => setNotice(null));
  useAuthEvent("signedOut", ({ reason }) => setNotice({ text: ended[reason], kind: reason === "user" ? "good" : "warn" }));
  useAuthEvent("delivered", () => setNotice({ text: "The server has now been told that you signed out.", kind: "good" }));

  /** What the authority said to a sign-out, or that it said nothing. */
  const onDone = (result: Result<Receipt>) =>
    setNotice(
      result.ok
        ? { text: done(result.value), kind: result.value.state === "pending" ? "warn" : "good" }
        : { text: "You are signed out here. The server could not be told yet, and will be as soon as it can.", kind: "warn" },
    );
  return { notice, onDone };
}

/** Always there, because screen readers announce what changes and not what comes along. */
export function NoticeBoard({ notice }: { notice: Notice | null }) {
  return <div role="status">{notice && <p className={`notice ${notice.kind}`}>{notice.text}</p>}</div>;
}

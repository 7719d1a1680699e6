"use client";

import { useId, useMemo, useRef } from "react";
import type { CSSProperties, ReactElement, ReactNode } from "react";
import { Modal } from "./Modal.js";
import { useIdleWarning } from "./useIdleWarning.js";
import { useLogout } from "./useLogout.js";
import type { LogoutSettings } from "./useLogout.js";

export interface IdleWarningLabels {
  title: ReactNode;
  message: ReactNode;
  /** The count-down that is seen. It changes each second and is not read aloud. */
  countdown: (secondsLeft: number) => ReactNode;
  /** What is read aloud: at first, and 30, 10 and 5 seconds before the end. */
  announcement: (secondsLeft: number) => string;
  stay: ReactNode;
  signOut: ReactNode;
}

const LABELS: IdleWarningLabels = {
  title: "Are you still there?",
  message: "Nothing has been done here for a while, so you will be signed out.",
  countdown: (s) => `${Math.floor(s / 60)}:${String(s % 60).padStart(2, "0")}`,
  announcement: (s) => `${s} ${s === 1 ? "second" : "seconds"} left.`,
  stay: "Stay signed in",
  signOut: "Sign out now",
};

/** What a function as `children` gets, to draw the inside of the dialog itself. */
export interface IdleWarningState {
  secondsLeft: number;
  /** To be the `id` of the heading, which gives the dialog its name. */
  titleId: string;
  /** To be the `id` of the text that describes it. */
  messageId: string;
  stay(): void;
  signOut(): void;
}

export interface IdleWarningProps extends Omit<LogoutSettings, "scope"> {
  className?: string;
  labels?: Partial<IdleWarningLabels>;
  children?: (warning: IdleWarningState) => ReactNode;
}

/**
 * A modal warning before inactivity ends the session. Put one anywhere below the
 * provider; it shows nothing until it is time. Escape stays signed in.
 */
export function IdleWarning(props: IdleWarningProps): ReactElement | null {
  // Apart, so that the dialog begins anew with each warning.
  const { secondsLeft, stay } = useIdleWarning();
  const { redirect, onDone } = props;
  const { logout } = useLogout({ redirect, onDone });
  if (secondsLeft === null) return null;
  return <Warning {...props} secondsLeft={secondsLeft} stay={stay} signOut={() => void logout()} />;
}

type WarningProps = IdleWarningProps & { secondsLeft: number; stay: () => void; signOut: () => void };

function Warning({ className, labels, children, secondsLeft, stay, signOut }: WarningProps): ReactElement {
  const text = { ...LABELS, ...labels };
  const stayButton = useRef<HTMLButtonElement>(null);
  const titleId = useId();
  const messageId = useId();
  const spokenId = useId();

  // A screen reader that says each second says nothing else.
  const milestone = [5, 10, 30].find((m) => secondsLeft <= m);
  const spoken = useMemo(() => secondsLeft, [milestone]);

  return (
    <Modal
      role="alertdialog"
      className={className}
      data-curfew="idle-warning"
      aria-labelledby={titleId}
      aria-describedby={`${messageId} ${spokenId}`}
      initialFocus={stayButton}
      onDismiss={stay}
    >
      {children ? (
        children({ secondsLeft, titleId, messageId, stay, signOut })
      ) : (
        <>
          <h2 id={titleId} data-curfew="dialog-title">
            {text.title}
          </h2>
          <p id={messageId} data-curfew="dialog-message">
            {text.message}
          </p>
          <p role="timer" data-curfew="countdown">
            {text.countdown(secondsLeft)}
          </p>
          <div data-curfew="dialog-actions">
            <button type="button" data-curfew="sign-out-now" onClick={signOut}>
              {text.signOut}
            </button>
            <button ref={stayButton} type="button" data-curfew="stay" onClick={stay}>
              {text.stay}
            </button>
          </div>
        </>
      )}
      <p id={spokenId} aria-live="polite" style={HEARD_ONLY}>
        {text.announcement(spoken)}
      </p>
    </Modal>
  );
}

/** For screen readers; seen by nobody. */
const HEARD_ONLY: CSSProperties = {
  position: "absolute",
  width: 1,
  height: 1,
  margin: -1,
  padding: 0,
  overflow: "hidden",
  clipPath: "inset(50%)",
  whiteSpace: "nowrap",
};

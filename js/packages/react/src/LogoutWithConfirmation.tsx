"use client";

import { useId, useRef, useState } from "react";
import type { ButtonHTMLAttributes, ReactElement, ReactNode } from "react";
import { busy } from "./LogoutButton.js";
import { Modal } from "./Modal.js";
import { useLogout } from "./useLogout.js";
import type { LogoutSettings } from "./useLogout.js";

export interface LogoutWithConfirmationLabels {
  /** On the button that opens the dialog. */
  button: ReactNode;
  /** On that button while the authority has not answered. */
  working: ReactNode;
  /** The heading of the dialog, and its name for screen readers. */
  title: ReactNode;
  message: ReactNode;
  confirm: ReactNode;
  cancel: ReactNode;
}

const LABELS: LogoutWithConfirmationLabels = {
  button: "Sign out",
  working: "Signing out…",
  title: "Sign out?",
  message: "You will have to sign in again to go on.",
  confirm: "Yes, sign out",
  cancel: "Cancel",
};

/** What a function as `children` gets, to draw the inside of the dialog itself. */
export interface Confirmation {
  /** To be the `id` of the heading, which gives the dialog its name. */
  titleId: string;
  /** To be the `id` of the text that describes it. */
  messageId: string;
  confirm(): void;
  cancel(): void;
}

export interface LogoutWithConfirmationProps extends LogoutSettings, Omit<ButtonHTMLAttributes<HTMLButtonElement>, "children" | "onClick"> {
  labels?: Partial<LogoutWithConfirmationLabels>;
  /** `className` is the button's, this is the dialog's. */
  dialogClassName?: string;
  /** The content of the button, or a function that draws the inside of the dialog. */
  children?: ReactNode | ((confirmation: Confirmation) => ReactNode);
}

/** A button that asks in a modal dialog before it logs out. */
export function LogoutWithConfirmation(props: LogoutWithConfirmationProps): ReactElement {
  const { scope, redirect, onDone, labels, dialogClassName, children, ...rest } = props;
  const text = { ...LABELS, ...labels };
  const { logout, loading } = useLogout({ scope, redirect, onDone });
  const [asking, setAsking] = useState(false);
  const button = useRef<HTMLButtonElement>(null);
  const cancelButton = useRef<HTMLButtonElement>(null);
  const titleId = useId();
  const messageId = useId();

  const cancel = () => setAsking(false);
  const confirm = () => {
    // Closed at once: there is nothing left to ask, whatever the authority answers.
    setAsking(false);
    void logout();
  };

  return (
    <>
      <button
        ref={button}
        type="button"
        data-curfew="logout"
        {...rest}
        {...busy(loading)}
        aria-haspopup="dialog"
        onClick={() => setAsking(!loading)}
      >
        {loading ? text.working : ((typeof children === "function" ? null : children) ?? text.button)}
      </button>
      {asking && (
        <Modal
          className={dialogClassName}
          data-curfew="dialog"
          aria-labelledby={titleId}
          aria-describedby={messageId}
          // Whoever presses Enter without having read should not be signed out.
          initialFocus={cancelButton}
          returnFocus={button}
          onDismiss={cancel}
        >
          {typeof children === "function" ? (
            children({ titleId, messageId, confirm, cancel })
          ) : (
            <>
              <h2 id={titleId} data-curfew="dialog-title">
                {text.title}
              </h2>
              <p id={messageId} data-curfew="dialog-message">
                {text.message}
              </p>
              <div data-curfew="dialog-actions">
                <button ref={cancelButton} type="button" data-curfew="cancel" onClick={cancel}>
                  {text.cancel}
                </button>
                <button type="button" data-curfew="confirm" onClick={confirm}>
                  {text.confirm}
                </button>
              </div>
            </>
          )}
        </Modal>
      )}
    </>
  );
}

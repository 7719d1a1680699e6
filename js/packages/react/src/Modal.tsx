"use client";

import { useLayoutEffect, useRef } from "react";
import type { DialogHTMLAttributes, MouseEvent, ReactElement, RefObject } from "react";

export interface ModalProps extends DialogHTMLAttributes<HTMLDialogElement> {
  /** What has the focus first. Without it, the browser chooses. */
  initialFocus?: RefObject<HTMLElement | null>;
  /** What has the focus afterwards, if it is still there. */
  returnFocus?: RefObject<HTMLElement | null>;
  /** Escape, the Back gesture, or a click beside the dialog. */
  onDismiss: () => void;
}

/**
 * A dialog that is open as long as it is rendered. The browser keeps the focus
 * inside, makes the rest inert and draws the backdrop.
 */
export function Modal({ initialFocus, returnFocus, onDismiss, children, ...rest }: ModalProps): ReactElement {
  const ref = useRef<HTMLDialogElement>(null);
  const pressedBeside = useRef(false);

  // A layout effect, as its end comes while the dialog is still in the document:
  // only a dialog that is closed there gives the focus back.
  useLayoutEffect(() => {
    const dialog = ref.current;
    const back = returnFocus?.current;
    dialog?.showModal();
    initialFocus?.current?.focus();
    return () => {
      dialog?.close();
      // Safari does not focus buttons that are clicked, and so has nothing to go back to.
      if (back?.isConnected) back.focus();
    };
  }, [initialFocus, returnFocus]);

  const beside = (e: MouseEvent<HTMLDialogElement>) => {
    // The backdrop belongs to the dialog, so only the place tells them apart.
    const box = e.currentTarget.getBoundingClientRect();
    const inside = e.clientX >= box.left && e.clientX <= box.right && e.clientY >= box.top && e.clientY <= box.bottom;
    return e.target === e.currentTarget && !inside;
  };

  return (
    <dialog
      ref={ref}
      {...rest}
      // Removed by its owner, so that the state of React and of the browser agree.
      onCancel={(e) => {
        e.preventDefault();
        onDismiss();
      }}
      // Chromium closes at a second Escape without asking.
      onClose={(e) => {
        if (!e.currentTarget.open) onDismiss();
      }}
      // Pressed and released beside it: text that is marked too far closes nothing.
      onMouseDown={(e) => void (pressedBeside.current = beside(e))}
      onClick={(e) => {
        if (pressedBeside.current && beside(e)) onDismiss();
      }}
    >
      {children}
    </dialog>
  );
}

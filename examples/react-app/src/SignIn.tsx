import { useAuth } from "@curfew/react";
import type { CurfewErrorLike } from "@curfew/client";
import { useId, useRef, useState } from "react";
import type { SubmitEvent } from "react";
import { Moon } from "./icons";
import { NoticeBoard } from "./notices";
import type { Notice } from "./notices";
import { Heading } from "./pages";
import { problem } from "./words";

/** The user that `curfew dev` makes. */
const demo = { login: "alice@example.com", password: "demo-password" };

export function SignIn({ notice }: { notice: Notice | null }) {
  const { signIn } = useAuth();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<CurfewErrorLike | null>(null);
  const form = useRef<HTMLFormElement>(null);
  const needsNew = error?.code === "password_change_required" || error?.code === "weak_password";

  const submit = async (e: SubmitEvent<HTMLFormElement>) => {
    e.preventDefault();
    if (busy) return;
    const fields = new FormData(e.currentTarget);
    const text = (name: string) => String(fields.get(name) ?? "");
    setBusy(true);
    setError(null);
    const result = await signIn({
      login: text("login"),
      password: text("password"),
      ...(text("newPassword") && { newPassword: text("newPassword") }),
    });
    setBusy(false);
    if (!result.ok) setError(result.error);
  };

  const fillIn = () => {
    for (const [name, value] of Object.entries(demo)) {
      const field = form.current?.elements.namedItem(name);
      if (field instanceof HTMLInputElement) field.value = value;
    }
  };

  return (
    <main className="narrow">
      <p className="brand"><Moon /> Night staff</p>
      <div className="card">
        <Heading title="Sign in">To see who is on duty tonight.</Heading>
        <NoticeBoard notice={notice} />
        <form ref={form} onSubmit={submit} aria-busy={busy}>
          <Field name="login" label="E-mail or user name" autoComplete="username" />
          <Field name="password" label="Password" type="password" autoComplete="current-password" />
          {needsNew && <Field name="newPassword" label="New password" type="password" autoComplete="new-password" />}
          <div role="alert">{error && <p className="notice bad">{problem(error)}</p>}</div>
          <button className="button primary" aria-disabled={busy}>{busy ? "Signing in…" : "Sign in"}</button>
        </form>
      </div>
      <p className="hint">
        For trying: <b>{demo.login}</b>
        <br />
        with <b>{demo.password}</b> <button type="button" className="link" onClick={fillIn}>Fill in</button>
      </p>
    </main>
  );
}

function Field({ label, ...rest }: { name: string; label: string; type?: string; autoComplete: string }) {
  const id = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input id={id} required autoCapitalize="none" spellCheck={false} {...rest} />
    </div>
  );
}

import { LogoutWithConfirmation, useSessions } from "@curfew/react";
import type { LogoutSettings } from "@curfew/react";
import type { Device } from "@curfew/client";
import { useRef } from "react";
import { DeviceIcon } from "./icons";
import { Heading } from "./pages";
import { ago, done, problem } from "./words";

const day = new Intl.DateTimeFormat("en", { dateStyle: "long" });

export function Devices({ onDone }: { onDone: LogoutSettings["onDone"] }) {
  const { sessions, loading, error, receipt, ending, end, endOthers, refresh } = useSessions();
  const heading = useRef<HTMLHeadingElement>(null);
  const others = sessions?.filter(({ current }) => !current).length ?? 0;

  const finish = async (ended: Promise<{ ok: boolean }>) => {
    // The button that was clicked is gone with its device; the focus must not be.
    if ((await ended).ok) heading.current?.focus();
  };

  return (
    <>
      <Heading title="Your devices">Wherever you are signed in. What you do not know, sign out.</Heading>
      <section className="card flush" aria-busy={loading}>
        <div className="bar">
          <h2 ref={heading} tabIndex={-1}>Signed in</h2>
          <button type="button" className="button" aria-disabled={loading} onClick={refresh}>
            {loading ? "Loading…" : "Look again"}
          </button>
        </div>
        <div role="status">{receipt && <p className="notice good">{done(receipt)}</p>}</div>
        <div role="alert">{error && <p className="notice bad">{problem(error)}</p>}</div>
        <ul className="devices">
          {sessions?.toSorted(thisDeviceFirst).map((device) => (
            <Row key={device.id} device={device} busy={ending.includes(device.id)} onEnd={() => finish(end(device.id))} />
          ))}
        </ul>
      </section>
      <section className="card">
        <h2>Sign out elsewhere</h2>
        <p>If you have lost a device, or used one that is not yours.</p>
        <div className="buttons">
          <button type="button" className="button" disabled={others === 0} onClick={() => finish(endOthers())}>
            Sign out all other devices
          </button>
          <LogoutWithConfirmation
            scope="global"
            className="button danger"
            dialogClassName="dialog"
            onDone={onDone}
            labels={{
              button: "Sign out everywhere",
              title: "Sign out everywhere?",
              message: "All your devices will be signed out, and this one too.",
              confirm: "Sign out everywhere",
            }}
          />
        </div>
      </section>
    </>
  );
}

const thisDeviceFirst = (a: Device, b: Device) => Number(b.current) - Number(a.current) || b.lastSeenAt.localeCompare(a.lastSeenAt);

function Row({ device, busy, onEnd }: { device: Device; busy: boolean; onEnd: () => void }) {
  const name = device.device || "Unknown device";
  return (
    <li aria-busy={busy}>
      <span className="device-icon"><DeviceIcon name={name} /></span>
      <div className="device">
        <h3>{name} {device.current && <span className="badge">This device</span>}</h3>
        <p>Seen <time dateTime={device.lastSeenAt}>{ago(device.lastSeenAt)}</time> from {device.ip}</p>
        <p>Signed in {day.format(Date.parse(device.createdAt))}</p>
      </div>
      <button type="button" className="button small" aria-disabled={busy} onClick={onEnd} aria-label={`Sign out ${device.current ? "this device" : name}`}>
        {busy ? "Signing out…" : "Sign out"}
      </button>
    </li>
  );
}

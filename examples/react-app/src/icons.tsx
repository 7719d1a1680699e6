import type { ReactNode } from "react";

const icon = (box: number, inside: ReactNode) => (
  <svg aria-hidden="true" viewBox={`0 0 ${box} ${box}`} fill="none" stroke="currentColor" strokeWidth={1.75} strokeLinecap="round" strokeLinejoin="round">
    {inside}
  </svg>
);

export const Moon = () => <img src="/moon.svg" alt="" width={28} height={28} />;
const Desktop = () => icon(24, <><rect x="3" y="4" width="18" height="12" rx="2" /><path d="M9 20h6M12 16v4" /></>);
const Phone = () => icon(24, <><rect x="7" y="2.5" width="10" height="19" rx="2.5" /><path d="M11 18.5h2" /></>);

/** The picture of a device. Its name is a guess from the user agent, and so is this. */
export const DeviceIcon = ({ name }: { name: string }) => (/iPhone|iPad|iOS|Android|Mobile/.test(name) ? <Phone /> : <Desktop />);

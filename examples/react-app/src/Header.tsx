import { LogoutOptions, useAuth } from "@curfew/react";
import type { LogoutSettings } from "@curfew/react";
import { Moon } from "./icons";
import type { Page } from "./pages";

// What came of it is said by the notice board, and need not be said twice.
const labels = { button: "Sign out", othersDone: () => null, failed: () => null };

export function Header({ page, onDone }: { page: Page; onDone: LogoutSettings["onDone"] }) {
  const { user } = useAuth();
  const here = (link: Page) => (link === page ? ("page" as const) : undefined);
  return (
    <header className="header">
      <div className="wide">
        <a className="brand" href="#/"><Moon /> Night staff</a>
        <nav aria-label="Pages">
          <a href="#/" aria-current={here("employees")}>Employees</a>
          <a href="#/devices" aria-current={here("devices")}>Devices</a>
        </nav>
        <span className="user" title={user?.email}>{user?.name ?? user?.email}</span>
        <LogoutOptions className="logout-options" buttonClassName="button" menuClassName="menu" onDone={onDone} labels={labels} />
      </div>
    </header>
  );
}

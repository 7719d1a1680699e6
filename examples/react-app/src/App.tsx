import { IdleWarning, RequireAuth } from "@curfew/react";
import { Devices } from "./Devices";
import { Employees } from "./Employees";
import { Header } from "./Header";
import { NoticeBoard, useNotices } from "./notices";
import { usePage } from "./pages";
import { SignIn } from "./SignIn";

export function App() {
  const page = usePage();
  const { notice, onDone } = useNotices();
  return (
    <>
      <RequireAuth
        loading={<p className="wait" role="status">One moment…</p>}
        // In place of the page, whose address stays: after the next sign-in it is there again.
        fallback={<SignIn notice={notice} />}
      >
        <Header page={page} onDone={onDone} />
        <main className="wide">
          <NoticeBoard notice={notice} />
          {page === "devices" ? <Devices onDone={onDone} /> : <Employees />}
        </main>
      </RequireAuth>
      <IdleWarning className="dialog" onDone={onDone} />
    </>
  );
}

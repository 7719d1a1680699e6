import { useAuth } from "@curfew/react";
import { useCallback, useEffect, useRef, useState } from "react";
import { authority } from "./options";
import { Heading } from "./pages";

interface Employee {
  id: number;
  name: string;
  gender: string;
  role: string;
  salary: number;
}

const money = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** The data behind the sign-in: fetched with the access token, gone with the session. */
export function Employees() {
  const { client } = useAuth();
  const [employees, setEmployees] = useState<Employee[] | null>(null);
  const [problem, setProblem] = useState("");
  const [loading, setLoading] = useState(false);
  const asked = useRef<AbortController>(undefined);

  const load = useCallback(async () => {
    asked.current?.abort();
    const { signal } = (asked.current = new AbortController());
    setLoading(true);
    setProblem("");
    try {
      // The client adds the token, and gets a new one where it is about to end.
      const response = await client.fetch(`${authority}/demo/employees`, { signal });
      if (!response.ok) throw new Error(`The server answered ${response.status}.`);
      const { employees } = await response.json();
      if (!signal.aborted) setEmployees(employees);
    } catch (e) {
      if (!signal.aborted) setProblem(e instanceof TypeError ? "The server cannot be reached." : String((e as Error).message));
    }
    if (!signal.aborted) setLoading(false);
  }, [client]);

  useEffect(() => {
    void load();
    return () => asked.current?.abort();
  }, [load]);

  return (
    <>
      <Heading title="Employees">Only for those who are signed in: the token is checked at each request.</Heading>
      <section className="card flush" aria-busy={loading}>
        <div className="bar">
          <h2>On duty tonight</h2>
          <button type="button" className="button" aria-disabled={loading} onClick={load}>
            {loading ? "Loading…" : "Load employees"}
          </button>
        </div>
        <div role="alert">{problem && <p className="notice bad">{problem}</p>}</div>
        {employees && (
          <table>
            <caption className="unseen">Employees on duty tonight</caption>
            <thead>
              <tr>
                <th scope="col">Name</th>
                <th scope="col">Role</th>
                <th scope="col" className="wide-only">Gender</th>
                <th scope="col" className="number">Salary</th>
              </tr>
            </thead>
            <tbody>
              {employees.map(({ id, name, role, gender, salary }) => (
                <tr key={id}>
                  <th scope="row">{name}</th>
                  <td>{role}</td>
                  <td className="wide-only">{gender}</td>
                  <td className="number">{money.format(salary)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>
      <section className="card tips">
        <h2>What to try</h2>
        <ul>
          <li>Open this page in a second tab, sign out there, and look here.</li>
          <li>Sign in with another browser and end this session from its list of devices.</li>
          <li>Stop the authority, sign out, and start it again: the sign-out is delivered.</li>
          <li><a href="?idle=20#/">Be signed out after 20 idle seconds</a>, with a warning.</li>
        </ul>
      </section>
    </>
  );
}

import { backoff, camel, later, table } from "./env.js";
import type { Answer, Call } from "./http.js";
import { getNow } from "./store.js";
import type { Receipt, Result, Scope, Storage } from "./types.js";

/** Sign-outs that the authority has not confirmed yet. Their token can do
 * nothing but log out, so it may lie in a storage that outlives the tab. */
const NAME = ".logout";
/** Scope and token. */
type Due = `${Scope} ${string}`;

export const receipt = (scope: Scope, b: false | { revocation?: object }): Receipt => ({
  state: "enforced",
  scope,
  sessionsEnded: 0,
  verifiers: 0,
  tookMs: 0,
  seq: 0,
  ...camel(b),
  ...(b && camel(b.revocation)),
});

export function createLogouts(
  http: (path: string, call: Call) => Promise<Answer>,
  store: Storage,
  closing: AbortSignal,
  delivered: (r: Receipt) => void,
) {
  const busy = new Set<string>();
  let failures = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  // Read afresh each time: other tabs write here too.
  const list = () => table(getNow(store, NAME));
  function change(due: Due, add?: boolean) {
    const { [due]: _, ...rest } = list();
    if (add) rest[due] = 1;
    void store.set(NAME, JSON.stringify(rest));
  }

  async function post(due: Due): Promise<Result<Receipt>> {
    const [scope, logout_token] = due.split(" ") as [Scope, string];
    busy.add(due);
    const r = await http("/logout", { form: { logout_token, scope }, keepalive: true });
    busy.delete(due);
    const status = r.ok ? 200 : r.error.status;
    if (!r.ok && status !== 401 && status !== 400) {
      retry(backoff(failures++, r.error));
      return r;
    }
    change(due);
    failures = 0;
    // 401: there is nothing to end any more.
    return status === 400 ? r : { ok: true, value: receipt(scope, r.ok && r.value) };
  }

  function retry(ms: number) {
    clearTimeout(timer);
    timer = later(deliver, ms);
  }

  async function deliver() {
    for (const due in list()) {
      if (closing.aborted || busy.has(due)) continue;
      const r = await post(due as Due);
      if (r.ok) delivered(r.value);
    }
  }

  return {
    /** Written down before it is sent, so that a page that is left in this
     * moment cannot lose it; sent before anything is awaited. */
    send(token: string, scope: Scope): Promise<Result<Receipt>> {
      change(`${scope} ${token}`, true);
      return post(`${scope} ${token}`);
    },
    /** What is left from before: soon, but not by ten tabs at once. */
    deliver: () => retry(Math.random() * 500),
  };
}

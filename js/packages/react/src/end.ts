import type { Client, Receipt, Result, Scope } from "@curfew/client";

/** Runs a call of the client. Whatever goes wrong becomes a value. */
export async function settle<T>(call: () => Promise<Result<T>>): Promise<Result<T>> {
  try {
    return await call();
  } catch (e) {
    // Clients do not throw. One that somebody wrote for a test, or wrapped, may.
    return { ok: false, error: { code: "unexpected", status: 0, message: e instanceof Error ? e.message : String(e) } };
  }
}

/** Who shows a list of the sessions of this client, and wants to know when it is old. */
const lists = new WeakMap<Client, Set<() => void>>();

/** Ends sessions by `call`, has the lists brought up to date, and never rejects. */
export async function ending(client: Client, call: () => Promise<Result<Receipt>>): Promise<Result<Receipt>> {
  const result = await settle(call);
  // Also after a failure: the session may have ended by itself meanwhile.
  lists.get(client)?.forEach((refresh) => refresh());
  return result;
}

/** Ends sessions as far as `scope` reaches. */
export function endSession(client: Client, scope: Scope = "local"): Promise<Result<Receipt>> {
  return ending(client, () => (scope === "others" ? client.sessions.endOthers() : client.signOut({ scope })));
}

/** Calls `refresh` after each ending, until the function that it returns is called. */
export function afterEnding(client: Client, refresh: () => void): () => void {
  const all = lists.get(client) ?? new Set();
  lists.set(client, all.add(refresh));
  return () => void all.delete(refresh);
}

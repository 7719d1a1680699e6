"use client";

import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import type { CurfewErrorLike, Device, Receipt, Result } from "@curfew/client";
import { afterEnding, ending, endSession, settle } from "./end.js";
import { useAuth } from "./provider.js";
import { useLatest } from "./useLatest.js";

export interface Sessions {
  /** The devices on which the person is signed in; null until they are known, and when nobody is signed in. */
  sessions: readonly Device[] | null;
  /** The list is being fetched. */
  loading: boolean;
  /** Why the last ending, or the last fetching, failed. */
  error: CurfewErrorLike | null;
  /** What the last ending has done, to be shown. */
  receipt: Receipt | null;
  /** The ids of the sessions that are being ended. */
  ending: readonly string[];
  /** Fetches the list again. */
  refresh(): Promise<void>;
  /** Ends one session. The current one is logged out like with `logout`. */
  end(id: string): Promise<Result<Receipt>>;
  /** Ends every session but this one. */
  endOthers(): Promise<Result<Receipt>>;
}

interface Shown {
  /** Whose list this is: it must not be shown to the next person. */
  owner: string | null;
  sessions: readonly Device[] | null;
  loading: boolean;
  /** Apart, as a list that came after a failed ending must not hide the failure. */
  listError: CurfewErrorLike | null;
  endError: CurfewErrorLike | null;
  receipt: Receipt | null;
  ending: readonly string[];
}

const nothing = (owner: string | null): Shown => ({
  owner,
  sessions: null,
  loading: owner !== null,
  listError: null,
  endError: null,
  receipt: null,
  ending: [],
});

/** The devices on which the person is signed in, and how to end them. Nothing rejects. */
export function useSessions(): Sessions {
  const { client, session } = useAuth();
  const owner = session?.id ?? null;
  const [kept, setKept] = useState(() => nothing(owner));
  const shown = kept.owner === owner ? kept : nothing(owner);
  const latest = useLatest(shown);
  const asked = useRef(0);
  const running = useMemo(() => ({ owner, calls: new Map<string, Promise<Result<Receipt>>>() }), [owner]).calls;

  // What comes late, for somebody who was here before, changes nothing.
  const update = useCallback(
    (change: (old: Shown) => Partial<Shown>) => setKept((old) => (old.owner === owner ? { ...old, ...change(old) } : old)),
    [owner],
  );

  const load = useCallback(async () => {
    if (owner === null) return;
    const turn = ++asked.current;
    update(() => ({ loading: true }));
    const result = await settle(() => client.sessions.list());
    if (turn !== asked.current) return; // Asked again since.
    update(() => (result.ok ? { loading: false, listError: null, sessions: result.value } : { loading: false, listError: result.error }));
  }, [client, owner, update]);

  useEffect(() => {
    setKept((old) => (old.owner === owner ? old : nothing(owner)));
    const stop = afterEnding(client, load);
    void load();
    return () => {
      stop();
      asked.current++;
    };
  }, [client, load, owner]);

  const refresh = useCallback(() => {
    update(() => ({ endError: null, receipt: null }));
    return load();
  }, [load, update]);

  /** Ends the sessions `ids` by `call`, once however often it is clicked. */
  const finish = useCallback(
    (key: string, ids: readonly string[], call: () => Promise<Result<Receipt>>): Promise<Result<Receipt>> => {
      const before = running.get(key);
      if (before) return before;
      update(({ ending }) => ({ endError: null, receipt: null, ending: [...ending, ...ids] }));
      const ended = call().then((result) => {
        running.delete(key);
        update((old) => ({
          ending: old.ending.filter((id) => !ids.includes(id)),
          ...(result.ok
            ? { receipt: result.value, sessions: old.sessions?.filter(({ id }) => !ids.includes(id)) ?? null }
            : { endError: result.error }),
        }));
        return result;
      });
      running.set(key, ended);
      return ended;
    },
    [running, update],
  );

  const end = useCallback(
    (id: string) => finish(id, [id], () => (id === owner ? endSession(client) : ending(client, () => client.sessions.end(id)))),
    [client, finish, owner],
  );
  const endOthers = useCallback(() => {
    const others = latest.current.sessions?.flatMap(({ id, current }) => (current ? [] : [id])) ?? [];
    return finish("others", others, () => endSession(client, "others"));
  }, [client, finish, latest]);

  const { sessions, loading, receipt, endError, listError } = shown;
  return { sessions, loading, error: endError ?? listError, receipt, ending: shown.ending, refresh, end, endOthers };
}

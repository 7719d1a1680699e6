import { createClock } from "./clock.js";
import { backoff, camel, later, table, type World } from "./env.js";
import { createHttp, failure, type Answer, type Call } from "./http.js";
import { createIdle } from "./idle.js";
import { createLogouts, receipt } from "./logouts.js";
import { fromAnswer, leftOf, read, valid, type Rec } from "./record.js";
import { createStore, getNow, web } from "./store.js";
import type { Leader } from "./live.js";
import { openChannel, type Message } from "./tabs.js";
import type { Client, CurfewErrorLike, Device, EndReason, Events, Options, Receipt, Result, Scope, Session, State } from "./types.js";

const SESSION = ".session";
const SEEN = ".seen"; // when the person was last active, for the next page
const OUT = ".out"; // the sessions that ended in this browser, and why
const LOADING: State = { status: "loading", session: null, reason: null };

const ok = <T>(value: T): Result<T> => ({ ok: true, value });
const gone = () => failure("signed_out", "Signed out");

export function start(options: Options, world: World): Client {
  const { key = "curfew", storage = "session" } = options;
  const ownIdle = (options.idleTimeout ?? 0) * 1000;
  const page = world.document; // none in Node
  const local = storage === "local";

  // --- Listeners -----------------------------------------------------------

  const listeners = new Set<[keyof Events, (e: never) => void]>();
  const on: Client["on"] = (event, listener) => {
    const entry: [keyof Events, (e: never) => void] = [event, listener];
    listeners.add(entry);
    return () => void listeners.delete(entry);
  };
  function emit<K extends keyof Events>(event: K, e: Events[K]) {
    for (const [name, listener] of listeners) {
      try {
        if (name === event) listener(e as never);
      } catch (problem) {
        // Theirs; the other listeners and the session do not suffer for it.
        (world.reportError ?? console.error)(problem);
      }
    }
  }

  // --- What there is -------------------------------------------------------

  const closing = new AbortController();
  const closed = closing.signal;
  const clock = createClock(world.performance);
  const { now } = clock;
  const { http, send } = createHttp(options, world);
  /** Outlives the tab. Holds marks and sign-outs to be delivered, no token
   * that opens anything. */
  const shared = createStore(page && (() => web(world.localStorage!)), key);
  const store = createStore(
    typeof storage === "object" ? () => storage : page && storage !== "memory" && (() => web(world[local ? "localStorage" : "sessionStorage"]!)),
    key,
    // Not before whoever made the client can listen.
    () => void ready.then(() => emit("error", failure("unexpected", "No storage: kept in memory").error)),
  );
  const logouts = createLogouts(http, shared, closed, (r) => emit("delivered", r));

  let state: State = LOADING;
  let rec: Rec | undefined;
  /** As it is shown: another object only when something has changed. */
  let session: Session | undefined;
  /** Changes with every session that comes or goes. An answer to a question of
   * another generation is thrown away, so that it cannot revive anything. */
  let generation = 0;
  let attempt = 0;
  let announced: string | undefined;
  let failures = 0;
  let refreshAt = 0;
  let due = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function set(next: State) {
    state = next;
    emit("change", next);
  }
  const setOut = (reason: EndReason | null) => set({ status: "signedOut", session: null, reason });

  /** In Node nobody presses keys; there the authority alone knows who is idle. */
  const idleTimeout = () => (page && rec ? Math.min(ownIdle || rec.idle, rec.idle || ownIdle) : ownIdle);

  const view = (r: Rec): Session => ({
    id: r.sid,
    user: r.user,
    accessToken: r.access,
    accessExpiresAt: r.accessAt,
    expiresAt: r.endsAt,
    idleTimeout: idleTimeout(),
  });

  function show() {
    if (!rec || !session) return;
    const { sid } = rec;
    if (state.session !== session) set({ status: "signedIn", session, reason: null });
    if (announced !== sid) {
      announced = sid;
      emit("signedIn", { session });
    }
    if (rec?.sid !== sid) return; // a listener has signed out
    void lead();
    plan();
  }
  /** After something has changed that is only shown while all is well. */
  const refreshView = () => state.session && show();

  function bump() {
    generation++;
    renewing = leaving = undefined;
  }

  function accept(next: Rec) {
    if (rec?.sid !== next.sid) bump();
    rec = next;
    session = view(next);
    // Ten tabs do not refresh together: the first one tells the others.
    refreshAt = next.at + (next.accessAt - next.at) * (0.8 + Math.random() / 10);
    failures = 0;
  }
  /** The authority has said when it ends. If that is later than it seemed, the
   * clock has counted too much time. */
  function settle(endsAt: number) {
    idle.shift(Math.max(0, Math.min(endsAt - (rec?.endsAt ?? endsAt), clock.settle())));
  }

  function save() {
    void store.set(SESSION, JSON.stringify(rec));
    saveSeen();
  }
  const saveSeen = () => void store.set(SEEN, String(idle.last()));
  const share = () => post({ t: "rec", rec: rec!, last: idle.last() });

  /** Empties the storage, unless another session lies there by now. */
  function clear(sid: string) {
    if ((read(getNow(store, SESSION))?.sid ?? sid) !== sid) return;
    void store.remove(SESSION);
    void store.remove(SEEN);
  }

  const marks = () => table(getNow(shared, OUT));
  /** Why a session has ended in this browser, if it has. */
  const endOf = (sid: string) => marks()[sid] as EndReason | undefined;
  const mark = (sid: string, reason: EndReason) =>
    endOf(sid) || shared.set(OUT, JSON.stringify(Object.fromEntries([...Object.entries(marks()).slice(-19), [sid, reason]])));

  /** The only way out. Everything local is gone before anything is awaited. */
  function end(reason: EndReason, tell = true): Rec | undefined {
    const old = rec;
    bump();
    rec = announced = undefined;
    clearTimeout(timer);
    if (old) {
      void mark(old.sid, reason);
      clear(old.sid);
      if (tell) post({ t: "out", sid: old.sid, reason });
      leader?.end();
    }
    if (old || state === LOADING) setOut(reason);
    if (old) emit("signedOut", { reason });
    return old;
  }
  /** Ends what the authority does not know to be over. */
  function finish(reason: EndReason) {
    const old = end(reason);
    if (old) void logouts.send(old.logout, "local");
  }
  /** The authority says that it is over. What this browser did itself it knows better. */
  const over = (reason: EndReason = "unknown") => rec && end(endOf(rec.sid) ?? reason);

  // --- Talking to the authority --------------------------------------------

  const fresh = (r: Rec) => r.accessAt - now() > Math.min(10_000, (r.accessAt - r.at) / 10);

  /** An access token that may be used now. */
  async function usable(): Promise<Result<string>> {
    const r = rec && !fresh(rec) ? await refresh() : gone();
    return rec && (r.ok || rec.accessAt > now()) ? ok(rec.access) : r.ok ? gone() : r;
  }

  /** After a 401: whether another attempt makes sense. */
  async function refused(token: string, g: number, error?: CurfewErrorLike): Promise<unknown> {
    if (g !== generation) return;
    if (error?.reason) return void over(error.reason);
    return rec?.access !== token || ((await refresh()).ok && g === generation);
  }

  async function authed(path: string, call: Call = {}): Promise<Answer> {
    const g = generation;
    for (let again = false; ; again = true) {
      const token = await usable();
      if (!token.ok) return token;
      if (g !== generation) return gone();
      const r = await http(path, { ...call, token: token.value });
      if (r.ok || r.error.code !== "signed_out" || again || !(await refused(token.value, g, r.error))) return r;
    }
  }

  /** Asks whether the session lives; with `active`, that counts as activity. */
  async function check(active = false): Promise<boolean> {
    const g = generation;
    const r = await authed("/sessions/current", { background: !active });
    if (g !== generation) return false;
    if (r.ok) learn(r.value);
    else emit("error", r.error);
    return r.ok;
  }

  function learn(b: any) {
    if (!rec || (b?.session_id ?? b?.session?.id) !== rec.sid) return;
    const endsAt = now() + leftOf(b.expires_in);
    settle(endsAt);
    const limit = leftOf(b.idle_timeout ?? 0);
    // Less is the noise of the network.
    if (Math.abs(endsAt - rec.endsAt) > 5000 || limit !== rec.idle) {
      rec = { ...rec, endsAt, idle: limit };
      session = view(rec);
    }
    refreshView();
  }

  let renewing: Promise<Result<Session>> | undefined;
  /** One at a time. Another tab may do the same at the same moment: the
   * authority gives both the same successor, so that no lock is needed. */
  function refresh(): Promise<Result<Session>> {
    const g = generation;
    return (renewing ??= renew().finally(() => {
      if (g === generation) renewing = undefined;
    }));
  }

  async function renew(): Promise<Result<Session>> {
    const g = generation;
    const n = rec?.n;
    // A tab that was asleep or frozen hears first whether another one has
    // refreshed: to present a spent token would end the session.
    if (now() > due + 3000) void ask();
    await asking;
    await reread();
    if (g !== generation || !rec) return gone();
    if (rec.n !== n && fresh(rec)) return snapshot();
    const old = rec;
    const r = await grant({ grant_type: "refresh_token", refresh_token: old.refresh, active: String(idle.take()) }, old);
    // Late: it has ended, here or in another tab, while the question was out.
    if (g === generation) await reread();
    if (g !== generation || !rec) return gone();
    if (r.ok) {
      const next = r.value;
      if (rec.n <= next.n) {
        settle(next.endsAt);
        accept(next);
        save();
        share();
        refreshView();
      }
      return snapshot();
    }
    if (r.error.code === "signed_out") over(r.error.reason);
    else {
      refreshAt = now() + backoff(failures++, r.error);
      emit("error", r.error);
      plan();
    }
    return r;
  }

  /** New tokens. A refresh is hasty, so that a second attempt still falls into
   * the ten seconds in which the authority repeats an answer that was lost. */
  async function grant(form: Record<string, string | undefined>, old?: Rec): Promise<Result<Rec>> {
    const r = await http("/token", { form: { ...form, client_id: options.clientId }, hasty: !!old });
    const next = r.ok && fromAnswer(r.value, now(), old);
    return !r.ok ? r : next ? ok(next) : failure("unexpected", "No answer of an authority", 200);
  }

  const snapshot = (): Result<Session> => (rec ? ok(session!) : gone());

  // --- Other tabs ----------------------------------------------------------

  /** What other tabs have done to the storage meanwhile. */
  async function reread() {
    const g = generation;
    const out = rec && endOf(rec.sid);
    if (out) return end(out, false);
    const value = store.get(SESSION);
    const text = await value;
    if (g !== generation) return;
    const next = read(text);
    if (next && next.sid === rec?.sid) {
      if (next.n > rec.n) accept(next);
    } else if (next && local && !endOf(next.sid)) {
      // Somebody has signed in.
      if (rec) end("replaced", false);
      take(next, next.at);
    } else if (!text && !(value instanceof Promise)) {
      // Emptied by hand, or by the page itself: that is meant.
      if (rec) finish("user");
    }
  }

  /** A session comes: from the storage or another tab, or `fresh` from the authority. */
  function take(next: Rec, last: number, fresh?: boolean) {
    if (fresh) clock.settle();
    accept(next);
    idle.start(last, fresh);
    if (fresh || !local) save();
    if (fresh) share();
    show();
  }

  function hear(m: Message) {
    leader?.hear(m);
    const mine = !!rec && m.sid === rec.sid;
    if (m.t === "out") {
      void mark(m.sid!, m.reason);
      if (mine) end(m.reason, false);
    } else if (m.t === "act") {
      if (mine) idle.heard(now());
    } else if (m.t === "ask") {
      if (state.session && (mine || !m.sid)) share();
    } else if (m.t === "rec") {
      const next = valid(m.rec);
      if (!next || endOf(next.sid)) return;
      if (!rec) {
        take(next, m.last);
      } else if (rec.sid === next.sid) {
        const { n } = rec;
        if (next.n > n || !state.session) accept(next);
        if (next.n > n && !local) save();
        idle.heard(m.last);
        refreshView();
      } else return;
      heard?.(true);
    }
  }

  let asking: Promise<boolean> | undefined;
  let heard: ((yes: boolean) => void) | undefined;
  /** Whether another tab has the session, which is then taken over. */
  const ask = async () =>
    channel &&
    (asking ??= new Promise<boolean>((done) => {
      heard = done;
      later(() => done(false), 150);
      post({ t: "ask", sid: rec?.sid });
    }).finally(() => (asking = heard = undefined)));

  // A session in memory is of one tab only.
  let channel = storage === "memory" ? undefined : openChannel(world, key, hear);
  const post = (m: Message) => channel?.postMessage(m);
  const hidden = () => page?.visibilityState === "hidden";
  let leader: Leader | undefined;
  /** In Node only where it is asked for: a stream keeps the process alive. */
  async function lead() {
    if (!(options.events ?? page)) return;
    try {
      const { createLeader } = await import("./live.js");
      leader ??= createLeader(hidden, !channel, post, { send, usable, refused, over, learn, generation: () => generation });
      if (rec && !closed.aborted) leader.start(rec.sid);
    } catch {
      // Offline: `wake` tries again.
    }
  }

  // --- Time ----------------------------------------------------------------

  const idle = createIdle(
    now,
    idleTimeout,
    () => (rec ? rec.idle / 4 : 0),
    (options.idleWarning ?? 60) * 1000,
    emit,
    () => {
      post({ t: "act", sid: rec?.sid });
      saveSeen();
    },
    () => void check(true),
  );

  const overdue = (): EndReason | undefined => (now() >= rec!.endsAt ? "expired" : idle.left() <= 0 ? "idle" : undefined);

  function plan() {
    clearTimeout(timer);
    if (!state.session || closed.aborted) return;
    // Never long: it is the timers that notice a sleep.
    const wait = Math.max(0, Math.min(10_000, refreshAt - now(), rec!.endsAt - now(), idle.next()));
    due = now() + wait;
    timer = later(tick, Math.ceil(wait));
  }

  function tick() {
    const late = now() - due;
    const why = overdue();
    // Surely over: nothing is asked. After a sleep, or by a clock that was
    // set, perhaps not: others may know better.
    if (why) return void (clock.doubt() || late > 3000 ? verify() : finish(why));
    // Hidden tabs are always a little late.
    if (late > 90_000) void wake();
    idle.tick();
    if (now() >= refreshAt) {
      refreshAt = Infinity; // until the answer says when
      void refresh();
    }
    plan();
  }

  /** Too late is too late, even before the timer knows. */
  const touch = () => void (state.session && (overdue() ? tick() : idle.touch()));

  let verifying: Promise<void> | undefined;
  /** Shows nothing until another tab or the authority says that it lives. */
  const verify = () => (verifying ??= verified().finally(() => (verifying = undefined)));
  async function verified() {
    const g = generation;
    clearTimeout(timer);
    if (state !== LOADING) set(LOADING);
    const known = await ask();
    let alive: unknown = known && !overdue();
    if (g === generation && !alive && !(overdue() && !clock.doubt())) alive = await check();
    if (g !== generation) return;
    const why = overdue();
    if (why) finish(why);
    else if (alive) show();
    // Offline. Nobody is signed out for that, but nothing is shown either.
    else if (!closed.aborted) timer = later(verify, backoff(failures++));
  }

  /** Something may have been missed: sleep, the back/forward cache, a hidden tab. */
  async function wake() {
    const out = rec && endOf(rec.sid);
    if (out) end(out, false);
    if (!rec) return;
    if (!state.session || overdue()) return verify();
    const g = generation;
    void lead();
    await ask();
    if (g === generation) await check();
  }

  // --- The beginning -------------------------------------------------------

  // Not at once: what is drawn first is the same on a server and here, and
  // whoever made the client can listen before anything happens.
  const ready = Promise.resolve().then(async () => {
    const g = generation;
    const next = read(await store.get(SESSION));
    const seen = await store.get(SEEN);
    if (g !== generation) return state; // signed in or out meanwhile
    if (next) {
      // The clock was set back: how old the token is nobody knows.
      const back = next.at > Date.now();
      clock.since(next.at);
      accept(back ? { ...next, accessAt: 0 } : next);
      idle.start(+(seen ?? next.at));
      const out = endOf(next.sid);
      const way = world.performance.getEntriesByType?.("navigation")[0]?.type;
      if (out) end(out, false);
      else if (back || overdue() || (page && !/^(navigate|reload)$/.test(way!))) {
        // Restored, duplicated, Back: it may have ended while nobody looked.
        await verify();
      } else {
        show();
        void wake();
      }
    } else if (storage === "session") await ask();
    if (g === generation && !rec) setOut(null);
    return state;
  });
  logouts.deliver();

  if (page) {
    const listen = (target: World, types: string, listener: (e: never) => void) => {
      for (const type of types.split(" ")) target.addEventListener!(type, listener, { passive: true, capture: true, signal: closed });
    };
    listen(world, "pointerdown keydown wheel scroll touchstart", touch);
    listen(page as unknown as World, "visibilitychange", () => {
      if (!hidden()) void wake();
      else if (!channel) leader?.end();
    });
    listen(world, "pageshow", (e: PageTransitionEvent) => e.persisted && wake());
    // A page with an open stream is not kept for Back, and the other tabs need
    // not wait for a new leader.
    listen(world, "pagehide", () => leader?.end());
    listen(world, "online", () => {
      logouts.deliver();
      if (failures) refreshAt = 0;
      void wake();
    });
    // Where there is no channel this is what other tabs hear.
    listen(world, "storage", ({ key: name }: StorageEvent) => {
      if (name !== key + SEEN) void reread().then(refreshView);
      else if (local) idle.heard(now());
    });
  }

  // --- What people call ----------------------------------------------------

  let leaving: Promise<Result<Receipt>> | undefined;
  function leave(scope: Scope): Promise<Result<Receipt>> {
    // The second of two clicks gets the answer to the first.
    if (rec || state === LOADING) {
      const old = end("user");
      leaving = old && logouts.send(old.logout, scope);
    }
    return leaving ?? Promise.resolve(ok(receipt(scope, false)));
  }
  const signOut: Client["signOut"] = ({ scope = "local" } = {}) => {
    if (scope === "others") return ready.then(() => (rec ? logouts.send(rec.logout, scope) : gone()));
    attempt++;
    // If it has not been read yet, it is to end all the same.
    return rec || state !== LOADING ? leave(scope) : ready.then(() => leave(scope));
  };
  const ending = (r: Answer, scope: Scope): Result<Receipt> => (r.ok ? ok(receipt(scope, r.value)) : r);

  const originOf = (url: string) => {
    try {
      return new URL(url, world.location?.href).origin;
    } catch {
      return "null";
    }
  };
  // "null": files and sandboxes, nobody in particular.
  const origins = [options.url, ".", ...(options.allow ?? [])].map(originOf).filter((o) => o !== "null");

  return {
    get state() {
      return state;
    },
    ready,
    async signIn({ login, password, newPassword, scope }) {
      const mine = ++attempt;
      const r = await grant({
        grant_type: "password",
        [login.includes("@") ? "email" : "username"]: login,
        password,
        new_password: newPassword,
        scope,
      });
      if (!r.ok) return r;
      const next = r.value;
      if (mine !== attempt) {
        // Signed out, or signed in again, meanwhile: nobody holds this session.
        void logouts.send(next.logout, "local");
        return gone();
      }
      if (rec && rec.sid !== next.sid) finish("replaced");
      take(next, now(), true);
      return snapshot();
    },
    signOut,
    async fetch(input: RequestInfo | URL, init?: RequestInit) {
      const call = options.fetch ?? world.fetch ?? fetch;
      const request = input instanceof Request ? input : undefined;
      const headers = new Headers(init?.headers ?? request?.headers);
      const token =
        origins.includes(originOf(request?.url ?? String(input))) && !headers.has("Authorization") && (await ready, state.session) && (await usable());
      if (!token || !rec) return call(input, init);
      const g = generation;
      const { access } = rec;
      const send = (source: RequestInfo | URL) => {
        headers.set("Authorization", "Bearer " + rec!.access);
        return call(source, { ...init, headers });
      };
      // A stream can be read once only. A Request is cloned before it is used.
      const once = init?.body instanceof ReadableStream;
      const res = await send(request && !once ? request.clone() : input);
      return res.status === 401 && !once && (await refused(access, g)) && rec ? send(input) : res;
    },
    refresh: () => ready.then(refresh),
    async token() {
      await ready;
      const r = state.session && (await usable());
      return r?.ok ? r.value : null;
    },
    stayActive: touch,
    sessions: {
      async list() {
        await ready;
        const r = await authed("/sessions");
        return r.ok ? ok(r.value.sessions.map(camel) as Device[]) : r;
      },
      async end(id) {
        await ready;
        return id === rec?.sid ? signOut() : ending(await authed("/sessions/" + encodeURIComponent(id), { method: "DELETE" }), "local");
      },
      endOthers: () => signOut({ scope: "others" }),
    },
    async changePassword({ current, password, keepCurrent }) {
      await ready;
      const g = generation;
      const r = await authed("/user", {
        method: "PUT",
        form: { current_password: current, password, keep_current: String(!!keepCurrent) },
      });
      if (r.ok && g === generation) {
        const next = r.value.tokens && fromAnswer(r.value.tokens, now(), rec);
        if (next) take(next, now(), true);
        else end("password_changed");
      }
      return ending(r, keepCurrent ? "others" : "global");
    },
    on,
    subscribe: (listener) => on("change", () => listener()),
    close() {
      closing.abort();
      clearTimeout(timer);
      leader?.end();
      channel?.close();
      channel = undefined;
    },
  };
}

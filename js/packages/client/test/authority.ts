/**
 * An authority for tests, written from the description of the API and not from
 * the client. It has its own clock (the steady one; tests set the wall clock
 * of the browser wrong) and can be down, slow or out of order.
 */
type Reason = string;

interface Held {
  id: string;
  user: string;
  client: string;
  logout: string;
  counter: number;
  /** When the counter moved: the predecessor is answered for ten seconds more. */
  movedAt: number;
  endsAt: number;
  seenAt: number;
  ended?: Reason;
}

type Mode = "up" | "down" | "hang" | number;

export interface Seen {
  path: string;
  method: string;
  headers: Headers;
  form: URLSearchParams;
  init: RequestInit;
}

export class Authority {
  url = "https://id.test";
  accessLife = 600;
  life = 8 * 3600;
  idle = 0;
  passwords = new Map([
    ["alice@test", "correct"],
    ["bob@test", "correct"],
  ]);
  sessions = new Map<string, Held>();
  access = new Map<string, { sid: string; until: number }>();
  log: Seen[] = [];
  /** The state of everything, or of one path. */
  mode: Mode = "up";
  modes = new Map<string, Mode>();
  body: unknown = undefined; // instead of the JSON of an error
  retryAfter: string | undefined;
  delay = 0;
  resources = 0;
  streams = new Set<{ sid: string; control: ReadableStreamDefaultController<Uint8Array> }>();
  #ids = 0;

  now = () => performance.now() / 1000;

  calls = (path: string) => this.log.filter((c) => c.path === path);
  live = () => [...this.sessions.values()].filter((s) => !this.#over(s));

  end(sid: string, reason: Reason) {
    const s = this.sessions.get(sid)!;
    s.ended ??= reason;
    for (const st of [...this.streams]) {
      if (st.sid !== sid) continue;
      this.streams.delete(st);
      this.write(st.control, `event: ended\ndata: {"reason":"${s.ended}","msg":"over"}\n\n`);
      st.control.close();
    }
  }
  write(control: ReadableStreamDefaultController<Uint8Array>, text: string) {
    control.enqueue(new TextEncoder().encode(text));
  }
  cut() {
    for (const st of this.streams) st.control.error(new TypeError("cut"));
    this.streams.clear();
  }

  fetch: typeof fetch = async (input, init = {}) => {
    const request = input instanceof Request ? input : undefined;
    const url = new URL(request?.url ?? String(input), this.url);
    const headers = new Headers(init.headers ?? request?.headers);
    const method = init.method ?? request?.method ?? "GET";
    const text = request && !init.body ? await request.text() : init.body instanceof ReadableStream ? await new Response(init.body).text() : String(init.body ?? "");
    const path = url.origin === this.url ? url.pathname : url.href;
    this.log.push({ path, method, headers, form: new URLSearchParams(text), init });
    const mode = this.modes.get(path) ?? this.mode;
    const signal = init.signal ?? undefined;
    const aborted = () => new DOMException("aborted", "AbortError");
    const stop = new Promise<never>((_, no) => {
      if (signal?.aborted) no(aborted());
      signal?.addEventListener("abort", () => no(aborted()));
    });
    stop.catch(() => {});
    if (mode === "down") throw new TypeError("Failed to fetch");
    if (mode === "hang") return stop;
    if (typeof mode === "number")
      return new Response(typeof this.body === "string" ? this.body : JSON.stringify(this.body ?? { code: mode, error_code: "busy", msg: "Try again" }), {
        status: mode,
        headers: this.retryAfter ? { "Retry-After": this.retryAfter } : {},
      });
    // The work is done when the question arrives; the answer may take time.
    const res = this.#answer(url, path, method, headers, new URLSearchParams(text));
    if (this.delay) await Promise.race([stop, new Promise((done) => setTimeout(done, this.delay))]);
    return res;
  };

  #json = (status: number, body: unknown) => new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json" } });
  #error = (status: number, error_code: string, reason?: string) => this.#json(status, { code: status, error_code, msg: `It is ${error_code}`, ...(reason && { reason }) });
  #over(s: Held): Reason | undefined {
    if (s.ended) return s.ended;
    if (this.now() >= s.endsAt) return "expired";
    if (this.idle && this.now() >= s.seenAt + this.idle) return "idle";
    return undefined;
  }
  #user = (email: string) => ({ id: `u-${email}`, email, roles: ["staff"], status: "active" });
  #refreshToken = (s: Held, n = s.counter) => `cr_${s.id}_${n}`;
  #tokens(s: Held) {
    const access_token = `at_${s.id}_${++this.#ids}`;
    this.access.set(access_token, { sid: s.id, until: this.now() + this.accessLife });
    return {
      access_token,
      token_type: "Bearer",
      expires_in: this.accessLife,
      expires_at: 12345, // of no use to anybody whose clock is wrong
      refresh_token: this.#refreshToken(s),
      logout_token: s.logout,
      session_id: s.id,
      session_expires_in: Math.round(s.endsAt - this.now()),
      idle_timeout: this.idle,
      user: this.#user(s.user),
    };
  }
  #receipt = (ended: number, scope: string) => ({
    message: "Logout successful",
    timestamp: "2026-11-20T10:30:00Z",
    scope,
    sessions_ended: ended,
    revocation: { seq: 42, state: "enforced", verifiers: 3, took_ms: 7 },
  });
  #bearer(headers: Headers): Held | Response {
    const a = this.access.get(headers.get("Authorization")?.replace("Bearer ", "") ?? "");
    if (!a) return this.#error(401, "no_credential");
    const s = this.sessions.get(a.sid)!;
    const over = this.#over(s);
    if (over) return this.#error(401, "session_revoked", over);
    return this.now() >= a.until ? this.#error(401, "token_expired") : s;
  }
  #logout(s: Held, scope: string, reason = "user") {
    let n = 0;
    for (const o of this.live()) {
      if (scope === "local" ? o !== s : o.user !== s.user || (scope === "others" && o === s)) continue;
      this.end(o.id, scope === "local" ? reason : scope === "others" ? "user_others" : "user_all");
      n++;
    }
    return this.#json(200, this.#receipt(n, scope));
  }

  #answer(url: URL, path: string, method: string, headers: Headers, form: URLSearchParams): Response {
    if (url.origin !== this.url || path.startsWith("/api")) {
      // A service behind a guard.
      const s = this.#bearer(headers);
      this.resources++;
      return s instanceof Response ? this.#json(401, { error: "nobody" }) : this.#json(200, { hello: s.user, body: form.toString() });
    }
    if (path === "/token" && form.get("grant_type") === "password") {
      const name = form.get("email") ?? form.get("username")!;
      if (this.passwords.get(name) !== form.get("password")) return this.#error(400, "invalid_credentials");
      return this.#json(200, this.#tokens(this.login(name, form.get("client_id") ?? "")));
    }
    if (path === "/token") {
      const [, id, n] = /^cr_(.+)_(\d+)$/.exec(form.get("refresh_token") ?? "") ?? [];
      const s = this.sessions.get(id ?? "");
      if (!s) return this.#error(400, "invalid_grant");
      const over = this.#over(s);
      if (over) return this.#error(400, "invalid_grant", over);
      if (+n! === s.counter) {
        s.counter++;
        s.movedAt = this.now();
      } else if (+n! !== s.counter - 1 || this.now() > s.movedAt + 10) {
        this.end(s.id, "token_reuse");
        return this.#error(400, "invalid_grant", "token_reuse");
      }
      if (form.get("active") === "true") s.seenAt = this.now();
      return this.#json(200, this.#tokens(s));
    }
    if (path === "/logout") {
      const s = [...this.sessions.values()].find((x) => x.logout === form.get("logout_token"));
      return s ? this.#logout(s, form.get("scope") ?? "local") : this.#error(401, "no_credential");
    }
    const s = this.#bearer(headers);
    if (s instanceof Response) return s;
    if (path === "/sessions/current") {
      if (!headers.has("Curfew-Background")) s.seenAt = this.now();
      return this.#json(200, {
        session: { id: s.id, current: true },
        expires_in: Math.round(s.endsAt - this.now()),
        idle_timeout: this.idle,
        ...(this.idle && { idle_expires_in: s.seenAt + this.idle - this.now() }),
        user: this.#user(s.user),
      });
    }
    if (path === "/sessions/events") {
      let entry: { sid: string; control: ReadableStreamDefaultController<Uint8Array> };
      const body = new ReadableStream<Uint8Array>({
        start: (control) => {
          entry = { sid: s.id, control };
          this.write(control, `retry: 1000\n\nevent: session\ndata: {"session_id":"${s.id}","expires_in":${Math.round(s.endsAt - this.now())},"idle_timeout":${this.idle}}\n\n`);
          this.streams.add(entry);
        },
        cancel: () => void this.streams.delete(entry),
      });
      return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    }
    if (path === "/sessions")
      return this.#json(200, {
        sessions: this.live()
          .filter((x) => x.user === s.user)
          .map((x) => ({ id: x.id, client_id: x.client, device: "Chrome on Linux", user_agent: "Mozilla", ip: "192.0.2.1", created_at: "2026-11-20T10:30:00Z", last_seen_at: "2026-11-20T10:31:00Z", expires_at: "2026-11-20T18:30:00Z", current: x === s })),
      });
    if (path.startsWith("/sessions/") && method === "DELETE") {
      const other = this.sessions.get(path.slice(10));
      if (!other) return this.#error(404, "not_found");
      return this.#logout(other, "local");
    }
    if (path === "/user") {
      if (form.get("current_password") !== this.passwords.get(s.user)) return this.#error(401, "reauthentication_required");
      if (form.get("password")!.length < 8) return this.#error(422, "weak_password");
      this.passwords.set(s.user, form.get("password")!);
      const keep = form.get("keep_current") === "true";
      for (const o of this.live()) if (o.user === s.user && !(keep && o === s)) this.end(o.id, "password_changed");
      if (keep) s.counter++;
      return this.#json(200, { ...this.#receipt(1, ""), ...(keep && { tokens: { ...this.#tokens(s), user: undefined } }) });
    }
    return this.#error(404, "not_found");
  }

  login(name: string, client = ""): Held {
    const id = `s${++this.#ids}`;
    const now = this.now();
    const s: Held = { id, user: name, client, logout: `cl_${id}`, counter: 1, movedAt: -1e9, endsAt: now + this.life, seenAt: now };
    this.sessions.set(id, s);
    return s;
  }
}

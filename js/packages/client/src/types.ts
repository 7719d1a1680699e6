/** Why a session is over. */
export type EndReason =
  /** The person signed out, in this tab or in another one of this browser. */
  | "user"
  /** Somebody with the account signed this session out from another device. */
  | "elsewhere"
  /** The absolute limit of the session is reached. */
  | "expired"
  /** Nobody did anything for longer than the authority allows. */
  | "idle"
  /** An operator, or a policy, ended it. */
  | "revoked"
  /** A spent refresh token was presented: two hands hold this session. */
  | "reuse"
  | "password_changed"
  /** The account was disabled or deleted. */
  | "disabled"
  /** A newer sign-in took its place. */
  | "replaced"
  /** Nothing more is known than that it counts no longer. */
  | "unknown";

/** How far a sign-out reaches. */
export type Scope = "local" | "others" | "global";

export interface User {
  id: string;
  email: string;
  username?: string;
  name?: string;
  roles: string[];
}

/** What a subscriber sees of a session. The refresh token is not part of it. */
export interface Session {
  id: string;
  user: User;
  accessToken: string;
  /** When the access token ends, in milliseconds of this browser's clock. */
  accessExpiresAt: number;
  /** When the session ends whatever happens, in the same clock. */
  expiresAt: number;
  /** Inactivity after which it ends, in milliseconds; 0 means never. */
  idleTimeout: number;
}

export type State =
  /** Storage, or another tab, has not been heard yet. */
  | { status: "loading"; session: null; reason: null }
  | { status: "signedIn"; session: Session; reason: null }
  | { status: "signedOut"; session: null; reason: EndReason | null };

/** What became of a sign-out at the authority. */
export interface Receipt {
  /** "enforced": no service accepts the session any more. "pending": the
   * authority could not be reached; it will be told later. */
  state: "enforced" | "recorded" | "pending";
  scope: Scope;
  sessionsEnded: number;
  verifiers: number;
  tookMs: number;
  seq: number;
}

export type ErrorCode =
  | "invalid_credentials" | "password_change_required" | "too_many_requests" | "too_many_sessions" | "invalid_request"
  | "reauthentication_required" | "weak_password"
  /** The session is over; `reason` says why if it is known. */
  | "signed_out"
  /** No answer: offline, blocked, timed out. */
  | "network"
  /** 5xx: nothing is promised; try again. */
  | "unavailable"
  | "unexpected";

/** The session in the list of devices. Times are ISO 8601. */
export interface Device {
  id: string;
  clientId: string;
  device: string;
  userAgent: string;
  ip: string;
  createdAt: string;
  lastSeenAt: string;
  expiresAt: string;
  current: boolean;
}

/** Where a session is kept. All methods may throw; the client then goes on in
 * memory. A storage may be asynchronous. */
export interface Storage {
  get(key: string): string | null | Promise<string | null>;
  set(key: string, value: string): void | Promise<void>;
  remove(key: string): void | Promise<void>;
}

export interface Events {
  /** Every change of state, in this tab. */
  change: State;
  signedIn: { session: Session };
  /** Exactly once per session and tab. Local state is gone already. */
  signedOut: { reason: EndReason };
  /** Once a second, while inactivity is about to end the session; `secondsLeft` counts down. */
  idleWarning: { secondsLeft: number };
  /** Somebody did something, or `stayActive` was called, after a warning. */
  idleCancelled: Record<string, never>;
  /** A sign-out that was made offline has reached the authority. */
  delivered: Receipt;
  /** Something failed that nobody waits for; the session is as it was. */
  error: CurfewErrorLike;
}

export interface CurfewErrorLike {
  code: ErrorCode;
  /** For people to read. */
  message: string;
  /** HTTP status, 0 without an answer. */
  status: number;
  reason?: EndReason;
  /** Seconds, where the authority said when to try again. */
  retryAfter?: number;
}

/** Results are values: nothing throws because a network or a password is bad. */
export type Result<T> = { ok: true; value: T } | { ok: false; error: CurfewErrorLike };

export interface Options {
  /** URL of the authority, or a path of the same origin such as "/auth". */
  url: string;
  clientId?: string;
  /** Default "session": closing the tab signs out, as nothing is left behind. */
  storage?: "session" | "local" | "memory" | Storage;
  /** Prefix of everything stored and of the channel between tabs; default "curfew". */
  key?: string;
  /** Seconds before an idle end at which `idleWarning` begins; default 60. */
  idleWarning?: number;
  /** Seconds of inactivity after which this client signs out by itself, if the authority's own limit is longer or none; default 0, none. */
  idleTimeout?: number;
  /** Milliseconds that one call may take; default 10,000. */
  timeout?: number;
  /** Told at once when the session ends elsewhere; default true. */
  events?: boolean;
  /** Origins, such as "https://api.example.com", that `fetch` sends the access
   * token to, besides the authority's and the page's own. */
  allow?: string[];
  fetch?: typeof fetch;
}

export interface SignInInput {
  /** E-mail address or user name. */
  login: string;
  password: string;
  newPassword?: string;
  scope?: string;
}

export interface Client {
  readonly state: State;
  /** Resolves when the stored session, or another tab's, has been read. */
  readonly ready: Promise<State>;
  signIn(input: SignInInput): Promise<Result<Session>>;
  /** Clears local state first and always. `ok` is false only where the
   * authority could not be told; the sign-out is then kept and delivered later. */
  signOut(options?: { scope?: Scope }): Promise<Result<Receipt>>;
  /** `fetch` with the access token, refreshed where needed; a 401 is tried once
   * more with a new token. Sends the token to the authority, the page's own
   * origin and the origins in `allow` only; others get the request as it is. */
  fetch: typeof fetch;
  /** The access token, refreshed where it is about to end, or null. */
  token(): Promise<string | null>;
  refresh(): Promise<Result<Session>>;
  /** Counts as activity of the person. */
  stayActive(): void;
  sessions: {
    list(): Promise<Result<Device[]>>;
    end(id: string): Promise<Result<Receipt>>;
    endOthers(): Promise<Result<Receipt>>;
  };
  changePassword(input: { current: string; password: string; keepCurrent?: boolean }): Promise<Result<Receipt>>;
  on<K extends keyof Events>(event: K, listener: (e: Events[K]) => void): () => void;
  /** For `useSyncExternalStore`. */
  subscribe(listener: () => void): () => void;
  /** Stops timers, channels and streams. The session stays. */
  close(): void;
}

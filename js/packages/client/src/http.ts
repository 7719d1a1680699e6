import { parse, type World } from "./env.js";
import { reasonOf } from "./reasons.js";
import type { CurfewErrorLike, ErrorCode, Options, Result } from "./types.js";

export interface Call {
  method?: string;
  token?: string;
  /** Without a token this makes a "simple" request, which needs no preflight
   * and outlives its page better. */
  form?: Record<string, string | undefined>;
  background?: boolean;
  keepalive?: boolean;
  /** Half the time-out. */
  hasty?: boolean;
}

export type Answer = Result<any>;

export const failure = (code: ErrorCode, message: string, status = 0): { ok: false; error: CurfewErrorLike } => ({
  ok: false,
  error: { code, message, status },
});

/** The authority's codes that are public as they are. */
const same = /^(invalid_(credentials|request)|password_change|too_many|reauthentication)/;

function codeOf(word: string, status: number): ErrorCode {
  if (same.test(word)) return word as ErrorCode;
  if (word === "invalid_grant" || status === 401) return "signed_out";
  return status === 422 ? "weak_password" : status === 429 ? "too_many_requests" : status >= 500 ? "unavailable" : "unexpected";
}

export async function answer(res: Response): Promise<Answer> {
  const { status } = res;
  // Not JSON: a proxy or a hotel's login page, not the authority.
  const body = parse(await res.text()) as any;
  if (res.ok && body) return { ok: true, value: body };
  const word = String(body?.error_code);
  const r = failure(codeOf(word, status), body?.msg ?? `HTTP ${status}`, status);
  // An access token that is merely old says nothing about the session.
  if (body?.reason && word !== "token_expired") r.error.reason = reasonOf(body.reason);
  const after = parseFloat(res.headers.get("Retry-After")!);
  if (after) r.error.retryAfter = after;
  return r;
}

export function createHttp(options: Options, world: World) {
  /** No cookie leaves with a call, and no cache keeps its answer. `fetch` is
   * called before the first await. */
  async function send(path: string, { method, token, form, background, keepalive = false }: Call, signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = {};
    if (token) headers.Authorization = "Bearer " + token;
    if (background) headers["Curfew-Background"] = "1";
    const body = form && new URLSearchParams(Object.entries(form).filter((e): e is [string, string] => !!e[1]));
    return (options.fetch ?? world.fetch ?? fetch)(options.url.replace(/\/+$/, "") + path, {
      method: method ?? (body ? "POST" : "GET"),
      headers,
      body: body as BodyInit,
      signal,
      keepalive,
      credentials: "omit",
      cache: "no-store",
    });
  }

  async function http(path: string, call: Call): Promise<Answer> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), (options.timeout ?? 10_000) / (call.hasty ? 2 : 1));
    try {
      return await answer(await send(path, call, abort.signal));
    } catch {
      return failure("network", "No answer");
    } finally {
      clearTimeout(timer);
    }
  }
  return { http, send };
}

import { later, parse } from "./env.js";
import { answer, type Call } from "./http.js";
import { reasonOf } from "./reasons.js";
import { openStream } from "./stream.js";
import type { Message } from "./tabs.js";
import type { CurfewErrorLike, EndReason, Result } from "./types.js";

// This module and those that only it imports are loaded with the first session:
// a page to sign in on does not need them.

/** What the stream needs of the client. */
interface Api {
  generation(): number;
  usable(): Promise<Result<string>>;
  send(path: string, call: Call, signal: AbortSignal): Promise<Response>;
  refused(token: string, generation: number, error?: CurfewErrorLike): Promise<unknown>;
  over(reason: EndReason): void;
  learn(body: unknown): void;
}

async function connect(signal: AbortSignal, { generation, usable, send, refused }: Api): Promise<Response | void> {
  const g = generation();
  const token = await usable();
  if (!token.ok || g !== generation()) return;
  const res = await send("/sessions/events", { token: token.value }, signal);
  if (res.headers.get("Content-Type")?.includes("event-stream")) return res;
  const r = await answer(res);
  if (!r.ok && r.error.status === 401) await refused(token.value, g, r.error);
}

function hear(type: string, body: unknown, client: Api) {
  if (type === "ended") client.over(reasonOf((body as { reason?: string } | null)?.reason));
  else if (type === "session") client.learn(body);
}

/**
 * One tab per session holds the stream: browsers allow six connections to a
 * host, and people have ten tabs. The leader announces itself; who has heard
 * none for five seconds takes over, and of two leaders the smaller rank stays.
 * Tabs that can be seen come before hidden ones, whose timers are throttled.
 */
export function createLeader(hidden: () => boolean, alone: boolean, post: (m: Message) => void, client: Api) {
  const random = Math.random();
  const rank = () => random + +hidden();
  let sid: string | undefined;
  let close: (() => void) | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function arm(ms: number) {
    clearTimeout(timer);
    timer = later(lead, ms);
  }
  function lead() {
    close ??= openStream((signal) => connect(signal, client), (type, data) => hear(type, parse(data), client));
    post({ t: "beat", sid, rank: rank() });
    arm(2000);
  }
  function follow() {
    close?.();
    close = undefined;
    arm(5000 + Math.random() * 500);
  }
  function end() {
    if (close) post({ t: "bye", sid });
    follow();
    clearTimeout(timer);
    sid = undefined;
  }
  return {
    end,
    start(session: string) {
      if (session !== sid) end();
      sid = session;
      if (close) return;
      // Without a channel each tab that can be seen has its own stream.
      if (!alone) {
        post({ t: "who", sid });
        arm(200 + Math.random() * 100);
      } else if (!hidden()) lead();
    },
    hear(m: Message) {
      if (!sid || m.sid !== sid) return;
      if (m.t === "beat") {
        // A leader gives way to the smaller rank; a follower claims the stream
        // only where it can be seen and the leader cannot.
        if (close ? m.rank <= rank() : m.rank < 1 || hidden()) follow();
        else lead();
      } else if (m.t === "who") {
        if (close) lead();
      } else if (m.t === "bye" && !close) arm(Math.random() * 200);
    },
  };
}

export type Leader = ReturnType<typeof createLeader>;

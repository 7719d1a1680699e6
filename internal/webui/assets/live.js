// Watches over a page that only this session may see: it goes away at once when
// the session ends, wherever that happens, and warns before the idle time-out.

const { session, idleTimeout, return: back } = document.body.dataset;
const here = location.pathname + location.search;

const channel = new BroadcastChannel("curfew");
const tell = (message) => channel.postMessage({ ...message, session });
channel.onmessage = ({ data }) => {
  if (data?.session !== session) return; // a tab from before somebody else signed in
  if (data.type === "ended") leave(data.reason);
  if (data.type === "active") {
    said();
    heard(data.left);
  }
};

// --- The end -----------------------------------------------------------------

let exit; // where to, once the session has ended
let sending = false; // a form is on its way, and its answer is the next page

export function ended(reason) {
  tell({ type: "ended", reason });
  leave(reason);
}

function leave(reason) {
  if (exit) return;
  // Replaced by a sign-in, perhaps in this very browser: the server knows, and
  // shows the page or asks to sign in.
  exit = reason === "replaced" ? again() : "/login?" + new URLSearchParams({ reason: reason || "unknown", return: back || here });
  queue.abort();
  close();
  document.body.replaceChildren(); // now, not when the next page comes
  // If this very page is signing out, the answer to its form says what happened
  // and deletes the cookie. Going away would cut it off.
  // And a new cookie must be there before it is asked for.
  setTimeout(() => location.replace(exit), sending ? 10_000 : reason === "replaced" ? 500 : 0);
}

// ask calls the server. It resolves to whether the session is known to live.
async function ask(headers) {
  try {
    const answer = await fetch("/sessions/current", { headers, cache: "no-store", signal: AbortSignal.timeout(10_000) });
    if (answer.status === 401) ended((await answer.json().catch(() => ({}))).reason);
    if (!answer.ok) return false;
    const now = await answer.json();
    if (same(now.session.id)) heard((now.idle_expires_in ?? idleTimeout) * 1000);
    return true;
  } catch {
    return false; // no network, no news
  }
}
const check = () => ask({ "Curfew-Background": "1" });

// same shows the page anew if the browser has another session by now: what
// stands here may be somebody else's.
function same(id) {
  if (!session || id === session) return true;
  if (!sending && !exit) location.replace(again());
  return false;
}
const again = () => (back.startsWith("/") ? back : here);

// --- The stream --------------------------------------------------------------

// A browser opens six HTTP/1.1 connections to a host, so ten tabs must not hold
// ten streams. One tab has the stream and tells the others. The lock says which;
// nobody waits for it: a tab that comes to the front takes it, because those in
// the back may be frozen, and every tab asks for itself when it is looked at.
let source;
let leading = false;
let release = () => {};
let queue = new AbortController();

function open() {
  close();
  source = new EventSource("/sessions/events");
  source.addEventListener("session", (event) => same(JSON.parse(event.data).session_id));
  source.addEventListener("ended", (event) => ended(JSON.parse(event.data).reason));
  source.onerror = async ({ target }) => {
    if (target.readyState !== EventSource.CLOSED) return; // it tries again by itself
    await check(); // an EventSource does not tell a 401 from a 503
    setTimeout(() => source === target && open(), 5000 + Math.random() * 5000);
  };
}

function close() {
  source?.close();
  source = null;
}

const visible = () => document.visibilityState === "visible";

async function lead(steal = visible()) {
  if (leading || exit) return;
  if (!navigator.locks) return visible() ? source ?? open() : close();
  queue.abort();
  queue = new AbortController();
  let led = false;
  try {
    await navigator.locks.request("curfew-events", steal ? { steal } : { signal: queue.signal }, () => {
      led = leading = true;
      open();
      return new Promise((resolve) => (release = resolve));
    });
  } catch {
    if (!led) return; // another request of this tab took its place
    leading = false;
    close();
    lead(false); // wait in case the other tab goes
  }
}

document.addEventListener("visibilitychange", () => {
  lead();
  if (visible()) check();
  else if (unsaid) report(); // timers are slow in the back
});
addEventListener("pagehide", () => {
  release(); // a page that holds a lock is not kept for Back
  leading = false;
  close();
});
addEventListener("pageshow", ({ persisted }) => {
  sending = false;
  if (exit) location.replace(exit);
  else lead();
  if (persisted) check();
});
// On window, so that whoever wants to stop a form has done so.
addEventListener("submit", (event) => {
  sending ||= !event.defaultPrevented && event.target.method !== "dialog";
});

// --- The idle time-out -------------------------------------------------------

const idle = idleTimeout * 1000; // 0 = none
const warning = Math.min(60_000, idle / 2);
const dialog = document.getElementById("idle");
const title = document.title;
let deadline = Date.now() + idle; // as far as the server has told
let last = Date.now(); // when it last heard of somebody
let unsaid = 0; // timer of a report to come
let asking = false;
let answered = false; // the question, and the server has not confirmed it yet

// heard takes over what the server said, to this tab or to another.
function heard(left) {
  if (!idle) return;
  deadline = Date.now() + left;
  tick();
}

// active tells the server that somebody is here, now and then. What happens in
// between is told at the end of the quarter, not forgotten.
function active() {
  // While the question stands, only an answer to it counts.
  if (!unsaid && !dialog.open) unsaid = setTimeout(report, last + idle / 4 - Date.now());
}

function said() {
  clearTimeout(unsaid);
  unsaid = 0;
  last = Date.now();
}

async function report() {
  said();
  if (await ask({})) tell({ type: "active", left: deadline - Date.now() });
}

async function tick() {
  if (exit) return;
  const left = deadline - Date.now();
  if (left > warning) {
    document.querySelector("main").hidden = false;
    if (dialog.open) dialog.close();
    return;
  }
  if (answered && left > 0) return;
  if (!dialog.open) dialog.showModal();
  const seconds = Math.max(0, Math.ceil(left / 1000));
  document.getElementById("idle-left").textContent = `${seconds} s`;
  document.title = `Signing out in ${seconds} s`;
  // The clock itself is silent: nobody wants to hear every second.
  if (seconds === 30 || seconds === 10) document.getElementById("idle-say").textContent = `${seconds} seconds left`;
  if (left > 0 || asking) return;
  // The server decides. As long as it can't be asked, nothing is shown.
  asking = true;
  const known = await check();
  asking = false;
  if (!exit) document.querySelector("main").hidden = !known;
}

if (idle) {
  for (const type of ["pointerdown", "pointermove", "keydown", "wheel"]) addEventListener(type, active, { passive: true });
  dialog.addEventListener("close", () => {
    document.title = title;
    if (deadline - Date.now() > warning) return; // closed by tick
    answered = true;
    report().finally(() => (answered = false));
  });
  setInterval(tick, 1000);
}

import { authority, forgetChoice, open, reasons, toLogin } from "./session.js";

const $ = (id) => document.getElementById(id);
const client = open();

/** Set while this page logs off by itself, and goes to the login page when that is done. */
let leaving = false;
/** Set when it is known at first whether somebody is logged in. */
let started = false;

/** Removes from the page what only somebody who is logged in may see. */
function hide() {
  $("private").hidden = true;
  $("table").hidden = true;
  for (const id of ["rows", "who", "until", "problem"]) $(id).replaceChildren();
  if ($("idle").open) $("idle").close();
}

function leave(reason) {
  forgetChoice();
  if (navigator.onLine) return toLogin(reason);
  // Without a network the login page cannot be had; the browser's own page about
  // that would say nothing of having logged off.
  const login = Object.assign(document.createElement("a"), { href: "Login.html", textContent: "Login" });
  $("wait").replaceChildren(reasons[reason], " ", login);
}

// However it ends: here, in another tab, on another device, at its expiry.
client.on("signedOut", ({ reason }) => {
  hide();
  if (!leaving) leave(reason);
});

// After a long sleep nobody knows whether it still counts, until somebody says so.
client.on("change", ({ status }) => {
  if (status === "loading") {
    hide();
    $("wait").textContent = "One moment…";
  } else if (status === "signedIn" && started && $("private").hidden) {
    void start();
  }
});

// Pages that are left may be kept in memory, as they are, and shown again at
// Back. This one is kept empty, and begins anew.
addEventListener("pagehide", hide);
addEventListener("pageshow", (e) => {
  if (e.persisted) location.reload();
});

/** Shows the page when the authority has said that the session counts. */
async function start() {
  $("wait").textContent = "One moment…";
  await client.ready;
  started = true;
  if (client.state.status === "signedOut") return leave("unknown");
  try {
    // What is in storage may have ended long ago. That a page looks is no sign of its person.
    const response = await client.fetch(`${authority}/sessions/current`, { headers: { "Curfew-Background": "1" } });
    if (client.state.status !== "signedIn") return; // It had ended; `signedOut` has said why.
    if (!response.ok) throw new Error(String(response.status));
    const { user, expires_in } = await response.json();
    $("who").textContent = `Logged in as ${user.name ?? user.email}`;
    $("until").textContent = `You will be logged off at ${time(expires_in)}, or when you say so.`;
    $("wait").textContent = "";
    $("private").hidden = false;
    $("heading").focus();
  } catch {
    if (client.state.status !== "signedIn") return;
    // Neither shown nor logged off: nobody knows.
    const again = Object.assign(document.createElement("button"), { className: "button", textContent: "Try again", onclick: start });
    $("wait").replaceChildren("The authority cannot be reached. ", again);
  }
}

const time = (seconds) =>
  new Date(Date.now() + seconds * 1000).toLocaleString("en", { dateStyle: seconds > 43_200 ? "long" : undefined, timeStyle: "short" });

$("load").addEventListener("click", async () => {
  $("problem").textContent = "";
  try {
    const response = await client.fetch(`${authority}/demo/employees`);
    if (!response.ok) throw new Error(`The server answered ${response.status}.`);
    const { employees } = await response.json();
    if (client.state.status !== "signedIn") return; // Logged off while it was on its way.
    $("rows").replaceChildren(...employees.map(row));
    $("table").hidden = false;
  } catch (e) {
    if (client.state.status === "signedIn") $("problem").textContent = e instanceof TypeError ? "The authority cannot be reached." : e.message;
  }
});

/** A row of the table. Names are put in as text: what comes from a server is no HTML. */
function row({ name, role, gender, salary }) {
  const tr = document.createElement("tr");
  for (const [i, text] of [name, role, gender, salary.toLocaleString("en")].entries()) {
    const cell = tr.appendChild(document.createElement(i === 0 ? "th" : "td"));
    if (i === 0) cell.scope = "row";
    cell.textContent = text;
  }
  return tr;
}

$("logoff").addEventListener("click", async () => {
  if (leaving) return;
  leaving = true;
  $("wait").textContent = "Logging off…";
  // The page is empty by the first line of this call. A server that does not
  // answer is not waited for: the client tells it later.
  const slow = new Promise((resolve) => setTimeout(resolve, 2000));
  const result = await Promise.race([client.signOut(), slow]);
  leave(result?.ok && result.value.state !== "pending" ? "user" : "pending");
});

client.on("idleWarning", ({ secondsLeft }) => {
  $("left").textContent = `${secondsLeft} s`;
  if ($("idle").open || $("private").hidden) return;
  $("idle").showModal();
});
client.on("idleCancelled", () => {
  // Not under the finger that is on its way to the button.
  if (!$("idle").contains(window.event?.target ?? null)) $("idle").close();
});
$("idle").addEventListener("close", () => {
  if (client.state.status === "signedIn") client.stayActive();
});

await start();

import { choose, chosen, open, reasons, storageWorks } from "./session.js";

const $ = (id) => document.getElementById(id);

const reason = new URLSearchParams(location.search).get("reason");
if (Object.hasOwn(reasons, reason ?? "")) $("notice").textContent = reasons[reason];
if (!storageWorks()) {
  $("problem").textContent = "This browser keeps nothing for this page, so you would be logged off by going to the next one. Please allow storage for it.";
}
$(chosen()).checked = true;

// Somebody may be logged in: in this tab, or in another one that hands over.
let client = open();
client.on("delivered", () => {
  if (reason === "pending") $("notice").textContent = "The server has now been told that you logged off.";
});
client.on("change", show);

function show({ session }) {
  $("already").hidden = !session;
  $("who").textContent = session ? (session.user.name ?? session.user.email) : "";
}

let busy = false;
$("form").addEventListener("submit", async (e) => {
  e.preventDefault();
  if (busy) return;
  busy = true;
  $("submit").textContent = "Logging in…";
  $("problem").textContent = "";

  // The next person, and perhaps another storage: nothing of before may stay.
  if (client.state.session) await client.signOut();
  const fields = new FormData($("form"));
  client.close();
  client = open(fields.get("storage"));
  const result = await client.signIn({ login: fields.get("login"), password: fields.get("password") });

  if (result.ok) {
    choose(fields.get("storage"));
    const query = new URLSearchParams(location.search);
    query.delete("reason");
    return location.assign(`Data.html${query.size > 0 ? `?${query}` : ""}`);
  }
  busy = false;
  $("submit").textContent = "Login";
  $("problem").textContent = said(result.error);
  $("password").select();
});

function said({ code, message, retryAfter }) {
  if (code === "invalid_credentials") return "That name and password do not belong together.";
  if (code === "too_many_requests") return `Too many attempts. Please wait ${retryAfter ?? "some"} seconds.`;
  if (code === "network") return "The authority cannot be reached. Is it running?";
  if (code === "password_change_required") return "A new password is needed. Choose one on the authority's own login page.";
  return message;
}

// Back from the data page shows this page as it is now, and not as it was.
addEventListener("pageshow", (e) => {
  if (e.persisted) location.reload();
});

// Not before: a form that is sent without this script goes nowhere.
$("submit").disabled = false;
show(await client.ready);

// Forms work without this. It keeps people from sending twice, asks before the
// red button, and shows passwords and times the way the reader wants them.

const labels = new Map(); // button → what stood on it

function wait(form, submitter) {
  for (const input of form.querySelectorAll("[data-shown]")) reveal(input, false);
  for (const button of document.querySelectorAll("button[type=submit]")) {
    labels.set(button, button.textContent);
    button.disabled = true;
  }
  const button = submitter ?? form.querySelector("button[type=submit]");
  if (button) button.textContent = button.dataset.busy ?? "Signing out…"; // what most of them do
}

function ready() {
  for (const [button, label] of labels) {
    button.disabled = false;
    button.textContent = label;
  }
  labels.clear();
}

// The dialog's own form closes it, Escape too; focus goes back by itself. The
// event comes a little later: by then the question may stand there again.
const answers = new Map(); // dialog → what to do after yes
function ask(dialog, yes) {
  if (!answers.has(dialog)) {
    dialog.addEventListener("close", () => !dialog.open && dialog.returnValue === "yes" && answers.get(dialog)());
  }
  answers.set(dialog, yes);
  dialog.returnValue = "";
  dialog.showModal();
}

let sure = false;
document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (event.defaultPrevented || form.method === "dialog") return;
  if (form.dataset.confirm && !sure) {
    event.preventDefault();
    ask(document.getElementById(form.dataset.confirm), () => {
      sure = true;
      form.requestSubmit(submitter);
      sure = false;
    });
    return;
  }
  // Later, because what is disabled now is not sent.
  setTimeout(wait, 0, form, submitter);
});
// Back brings the page as it was left.
addEventListener("pageshow", ready);

function reveal(input, shown) {
  input.type = shown ? "text" : "password";
  input.toggleAttribute("data-shown", shown);
  document.querySelector(`[data-shows="${input.id}"]`).setAttribute("aria-pressed", shown);
}
for (const button of document.querySelectorAll("[data-shows]")) {
  const input = document.getElementById(button.dataset.shows);
  button.hidden = false;
  button.addEventListener("click", () => reveal(input, input.type === "password"));
}

// Times come in UTC. The page is English, so the zone is the reader's and the
// language stays. Ages are counted from the server's clock: the one here may be
// wrong by a day.
const language = navigator.languages.find((l) => l.startsWith("en")) ?? "en-GB";
const full = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "short" });
const day = new Intl.DateTimeFormat(language, { dateStyle: "long" });
const ago = new Intl.RelativeTimeFormat(language, { numeric: "always" });
const ahead = Date.parse(document.body.dataset.now) - Date.now();

function age(then) {
  const minutes = Math.floor((Date.now() + ahead - then) / 60_000);
  if (minutes < 1) return "just now";
  if (minutes < 60) return ago.format(-minutes, "minute");
  if (minutes < 24 * 60) return ago.format(-Math.floor(minutes / 60), "hour");
  if (minutes < 30 * 24 * 60) return ago.format(-Math.floor(minutes / 60 / 24), "day");
  return day.format(then);
}
function tell() {
  for (const time of document.querySelectorAll("time")) {
    const then = Date.parse(time.dateTime);
    time.title = full.format(then);
    time.textContent = time.hasAttribute("data-ago") ? age(then) : day.format(then);
  }
}
if (!Number.isNaN(ahead)) {
  tell();
  setInterval(tell, 60_000);
}

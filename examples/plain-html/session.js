// What both pages share: the client, where it keeps the session, and the words.
import { createClient } from "/curfew-client/index.js";
import { authority } from "/config.js";

export { authority };

/** Reading or writing it throws where a browser has storage switched off. */
const attempt = (what) => {
  try {
    return what();
  } catch {
    return null;
  }
};

const CHOICE = "plain-html:storage";

/** Where this tab keeps its session. A tab that chose for itself goes before what was chosen for all. */
export const chosen = () =>
  attempt(() => sessionStorage.getItem(CHOICE)) ?? attempt(() => localStorage.getItem(CHOICE)) ?? "session";

/** Keeps the choice where the session will be, so that both are lost together. */
export function choose(storage) {
  forgetChoice();
  attempt(() => (storage === "local" ? localStorage : sessionStorage).setItem(CHOICE, storage));
}

export function forgetChoice() {
  attempt(() => sessionStorage.removeItem(CHOICE));
  attempt(() => localStorage.removeItem(CHOICE));
}

/** Whether the browser keeps anything at all from one page to the next. */
export const storageWorks = () =>
  attempt(() => {
    sessionStorage.setItem("plain-html:probe", "1");
    sessionStorage.removeItem("plain-html:probe");
    return true;
  }) === true;

// ?idle=20 logs off after 20 seconds without a key or a pointer.
const idle = Number(new URLSearchParams(location.search).get("idle")) || 0;

export const open = (storage = chosen()) =>
  createClient({
    url: authority,
    clientId: "plain-html",
    storage,
    key: "plain-html",
    ...(idle > 0 && { idleTimeout: idle, idleWarning: Math.min(60, Math.ceil(idle / 2)) }),
  });

/** Why somebody is on the login page again. Only these are shown: an address can be made by anybody. */
export const reasons = {
  user: "You have logged off.",
  pending: "You have logged off here. The server could not be reached and will be told as soon as it can be.",
  elsewhere: "You were logged off from another device.",
  expired: "Your session has expired, so you were logged off. Please log in again.",
  idle: "You were logged off because nothing happened here for a while.",
  revoked: "An administrator logged you off.",
  reuse: "You were logged off, because your session may be in somebody else's hands. If in doubt, change your password.",
  password_changed: "You were logged off because your password was changed.",
  disabled: "You were logged off because this account is not active any more.",
  replaced: "You were logged off here because you logged in on another device.",
  unknown: "Please log in again.",
};

/** To the login page. Not kept in the history, so that Back does not lead to the data. */
export function toLogin(reason) {
  const query = new URLSearchParams(location.search);
  query.delete("reason");
  if (reason in reasons) query.set("reason", reason);
  location.replace(`Login.html${query.size > 0 ? `?${query}` : ""}`);
}

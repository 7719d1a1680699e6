import type { CurfewErrorLike, EndReason, Receipt } from "@curfew/client";

/** Why the session is over, for the person in front of the screen. */
export const ended: Record<EndReason, string> = {
  user: "You are signed out.",
  elsewhere: "You were signed out here from another device.",
  expired: "Your time here was up. Please sign in again.",
  idle: "You were signed out because nothing happened here for a while.",
  revoked: "An administrator signed you out.",
  reuse: "You were signed out because a sign-in that was already used up was used again, perhaps by somebody else. If that was not you, change your password.",
  password_changed: "You were signed out because your password was changed.",
  disabled: "You were signed out because this account is not active any more. Please ask an administrator.",
  replaced: "You were signed out here because you signed in on another device.",
  unknown: "You have been signed out. Please sign in again.",
};

/** What an ending has done. */
export function done({ state, scope, sessionsEnded, tookMs, verifiers }: Receipt): string {
  if (sessionsEnded === 0 && state !== "pending") return scope === "others" ? "You were signed in nowhere else." : "Signed out.";
  const what = scope === "local" && sessionsEnded <= 1 ? "Signed out." : `Signed out on ${count(sessionsEnded, "device")}.`;
  if (state === "pending") return `${what} The server could not be reached yet and will be told as soon as it can be.`;
  if (state === "recorded") return `${what} Services are being told now.`;
  return `${what} Refused everywhere after ${Math.max(1, Math.round(tookMs))} ms${verifiers > 0 ? `, by ${count(verifiers, "service")}` : ""}.`;
}

/** Why something did not work. */
export function problem(error: CurfewErrorLike): string {
  switch (error.code) {
    case "invalid_credentials":
      return "That name and password do not belong together.";
    case "password_change_required":
      return "A new password is needed. Please choose one.";
    case "weak_password":
      return "That password is too easy to guess, or the one that you have. Please choose another one.";
    case "too_many_requests":
      return `Too many attempts. Please wait ${error.retryAfter ? count(error.retryAfter, "second") : "a moment"} and try again.`;
    case "too_many_sessions":
      return "You are signed in on too many devices. Sign out on one of them first.";
    case "network":
      return "The server cannot be reached. Is the authority running?";
    case "unavailable":
      return "The server is busy. Please try again.";
    case "signed_out":
      return ended[error.reason ?? "unknown"];
    default:
      return error.message;
  }
}

export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** How long ago, as exact as it matters. */
export function ago(time: string): string {
  const minutes = Math.round((Date.parse(time) - Date.now()) / 60_000);
  if (minutes > -1) return "just now"; // Also where two clocks differ.
  if (minutes > -60) return relative.format(minutes, "minute");
  if (minutes > -60 * 24) return relative.format(Math.round(minutes / 60), "hour");
  return relative.format(Math.round(minutes / 60 / 24), "day");
}

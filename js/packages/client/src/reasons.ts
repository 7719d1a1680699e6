import type { EndReason } from "./types.js";

/** Said by the authority in the same word. */
const same = /^(idle|expired|replaced|disabled|password_changed)$/;

/** The authority's reasons in the words of the browser. Its `user…` reasons
 * mean another device here: what this browser did itself it knows by itself. */
export const reasonOf = (word: unknown): EndReason => {
  const text = String(word);
  if (same.test(text)) return text as EndReason;
  if (text === "deleted") return "disabled";
  if (text === "token_reuse") return "reuse";
  if (/^user(_|$)/.test(text)) return "elsewhere";
  return /^(admin|suspicious|compromised|restored)$|_revoked$/.test(text) ? "revoked" : "unknown";
};

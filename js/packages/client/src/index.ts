import { start } from "./client.js";
import type { World } from "./env.js";
import type { Client, CurfewErrorLike, Options } from "./types.js";

export type * from "./types.js";

/** A session in this tab, or in this process. Make one and keep it. */
export const createClient = (options: Options): Client => start(options, globalThis as unknown as World);

/** Whether a caught or passed-on value is one of the errors of this package. */
export const isCurfewError = (e: unknown): e is CurfewErrorLike =>
  typeof e === "object" && e !== null && "code" in e && "message" in e && "status" in e;

import type { Channel, World } from "./env.js";
import type { Rec } from "./record.js";
import type { EndReason } from "./types.js";

/** What the tabs of an origin say to each other about the session `sid`.
 * Nothing waits for a lock: a tab may be frozen at any moment. */
export type Message = { sid?: string | undefined } & (
  | /** Who has this session, or any? */ { t: "ask" }
  | /** Here is one, and when the person was last active. */ { t: "rec"; rec: Rec; last: number }
  | { t: "out"; reason: EndReason }
  | /** The person is active. */ { t: "act" }
  | /** Who holds the stream? */ { t: "who" }
  | /** I do. */ { t: "beat"; rank: number }
  | /** I no longer do. */ { t: "bye" }
);

export function openChannel(world: World, name: string, hear: (m: Message) => void): Channel | undefined {
  try {
    // Node has the class as well, but there it would join threads.
    const channel = world.document && new world.BroadcastChannel!(name);
    channel!.onmessage = (e) => hear(e.data as Message);
    return channel;
  } catch {
    // Missing or forbidden. The storage event has to do.
    return;
  }
}

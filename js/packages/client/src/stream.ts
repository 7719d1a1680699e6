import { backoff, later } from "./env.js";
import { createParser } from "./sse.js";

/** The authority sends a comment every 15 seconds; after this silence the
 * connection is taken for dead. */
const SILENCE = 40_000;

/**
 * Keeps a stream of server-sent events open until the returned function is
 * called. EventSource cannot send a token, hence fetch. `connect` answers null
 * where there is nothing to read; that, an end and an error are all followed by
 * a pause and a new attempt.
 */
export function openStream(
  connect: (signal: AbortSignal) => Promise<Response | void>,
  on: (type: string, data: string) => void,
): () => void {
  let over = false;
  let failures = 0;
  let stop = () => {};

  async function read() {
    const begun = Date.now();
    let pause = 0;
    const abort = new AbortController();
    stop = () => abort.abort();
    let timer = later(stop, SILENCE);
    try {
      const res = await connect(abort.signal);
      const parse = createParser((type, data) => {
        failures = 0;
        on(type, data);
      });
      const reader = res?.body?.pipeThrough(new TextDecoderStream(), abort).getReader();
      for (let chunk; reader && !(chunk = await reader.read()).done && !over; ) {
        clearTimeout(timer);
        timer = later(stop, SILENCE);
        parse(chunk.value);
      }
      // An orderly end, as when its token has expired: what happens meanwhile
      // must not wait. One that comes at once is no order.
      if (!res || Math.abs(Date.now() - begun) < 1000) pause = backoff(failures++);
    } catch {
      // Offline, refused, cut off: all the same.
      pause = backoff(failures++);
    }
    clearTimeout(timer);
    stop();
    if (!over) timer = later(read, pause);
    stop = () => clearTimeout(timer);
  }
  void read();

  return () => {
    over = true;
    stop();
  };
}

// A proxy in front of an authority that fails on demand. Unlike a mocked route
// in the browser it fails where networks fail: on the connection.

import { createServer, request } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Fault =
  /** The connection breaks without an answer. */
  | "drop"
  /** The call is carried out, and the connection breaks before the answer. */
  | "lose"
  /** Nobody ever answers. */
  | "hang"
  | { status: number; headers?: Record<string, string>; body?: string }
  /** Held for so many milliseconds before it is passed on. */
  | { before: number }
  /** Carried out at once, and answered so many milliseconds later. */
  | { after: number };

export interface Seen {
  method: string;
  path: string;
  headers: IncomingMessage["headers"];
  body: string;
  /** When the head of the answer was passed on, in Date.now(). */
  answeredAt?: number;
  status?: number;
  /** The body of the answer, unless it is a stream. */
  answer?: string;
}

export interface Proxy {
  url: string;
  port: number;
  /** Every request so far. */
  seen: Seen[];
  /** Asked for each request; undefined lets it pass. */
  fault: ((req: { method: string; path: string }) => Fault | undefined) | undefined;
  /** How many streams of events are open now, and were at most. */
  streams: { open: number; most: number };
  /** The requests whose path begins with `path`. */
  calls(method: string, path: string): Seen[];
  /** Breaks all connections there are. */
  cut(): void;
  close(): Promise<void>;
}

export async function startProxy(target: string): Promise<Proxy> {
  const { hostname, port } = new URL(target);
  const seen: Seen[] = [];
  const streams = { open: 0, most: 0 };

  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of req) chunks.push(chunk as Buffer);
    } catch {
      return; // hung up
    }
    const body = Buffer.concat(chunks);
    const entry: Seen = { method: req.method!, path: req.url!, headers: req.headers, body: body.toString() };
    seen.push(entry);

    const fault = proxy.fault?.({ method: entry.method, path: entry.path });
    if (fault === "hang") return;
    if (fault === "drop") return void req.socket.destroy();
    if (typeof fault === "object" && "status" in fault) {
      entry.status = fault.status;
      entry.answeredAt = Date.now();
      res.writeHead(fault.status, { "Access-Control-Allow-Origin": "*", ...fault.headers });
      return void res.end(fault.body ?? "");
    }
    if (typeof fault === "object" && "before" in fault) await new Promise((resolve) => setTimeout(resolve, fault.before));
    pass(req, res, body, entry, fault);
  });

  function pass(req: IncomingMessage, res: ServerResponse, body: Buffer, entry: Seen, fault: Fault | undefined) {
    // The browser's Host goes with it: the authority compares it with Origin.
    const up = request({ hostname, port, method: req.method, path: req.url, headers: req.headers }, async (answer) => {
      if (fault === "lose") {
        answer.resume();
        return void req.socket.destroy();
      }
      if (typeof fault === "object" && "after" in fault) await new Promise((resolve) => setTimeout(resolve, fault.after));
      const stream = answer.headers["content-type"]?.startsWith("text/event-stream") ?? false;
      if (stream) {
        streams.most = Math.max(streams.most, ++streams.open);
        answer.once("close", () => streams.open--);
      }
      entry.status = answer.statusCode;
      entry.answeredAt = Date.now();
      res.writeHead(answer.statusCode!, answer.rawHeaders);
      res.flushHeaders();
      answer.on("error", () => res.destroy());
      if (!stream) answer.on("data", (chunk: Buffer) => (entry.answer = (entry.answer ?? "") + chunk.toString()));
      answer.pipe(res);
    });
    up.on("error", () => res.destroy());
    res.on("close", () => up.destroy());
    up.end(body);
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const at = (server.address() as AddressInfo).port;
  const proxy: Proxy = {
    url: `http://127.0.0.1:${at}`,
    port: at,
    seen,
    fault: undefined,
    streams,
    calls: (method, path) => seen.filter((s) => s.method === method && s.path.startsWith(path)),
    cut: () => server.closeAllConnections(),
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
  return proxy;
}

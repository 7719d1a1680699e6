// A small static server on loopback, for fixtures and for what the examples are
// built into.

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

const types: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".map": "application/json",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

export interface Site {
  /** http://127.0.0.1:PORT, another origin than the authority's, of the same site. */
  url: string;
  /** http://localhost:PORT, another site. */
  elsewhere: string;
  close(): Promise<void>;
}

/** Serves pages made up by the test, by path, and else the files in `dirs`, by
 * prefix. `replace` is what to change in scripts that were built before. */
export async function startSite(
  pages: Record<string, string>,
  dirs: Record<string, string> = {},
  replace: Record<string, string> = {},
): Promise<Site> {
  const server = createServer(async (req, res) => {
    // Modules of a frame without an origin are loaded across origins.
    res.setHeader("Access-Control-Allow-Origin", "*");
    const { pathname } = new URL(req.url!, "http://site");
    if (pages[pathname] !== undefined) {
      res.writeHead(200, { "Content-Type": types[extname(pathname)] ?? types[".html"]! });
      return res.end(pages[pathname]);
    }
    for (const [prefix, dir] of Object.entries(dirs)) {
      if (!pathname.startsWith(prefix)) continue;
      const rest = normalize("/" + pathname.slice(prefix.length)); // no ".." comes out of it
      try {
        let body: string | Buffer = await readFile(join(dir, rest.endsWith("/") ? rest + "index.html" : rest));
        if (extname(rest) === ".js") for (const [from, to] of Object.entries(replace)) body = body.toString().replaceAll(from, to);
        res.writeHead(200, { "Content-Type": types[extname(rest)] ?? types[".html"]! });
        return res.end(body);
      } catch {
        // the next one may have it
      }
    }
    res.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    elsewhere: `http://localhost:${port}`,
    close() {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(() => resolve()));
    },
  };
}

// Serves this folder, and the client beside it:
//
//   node serve.mjs [--port 5174] [--authority http://127.0.0.1:8080]
//
// It is here so that the example needs nothing installed. A page of your own
// takes the client from wherever it keeps its scripts.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "5174" },
    authority: { type: "string", default: "http://127.0.0.1:8080" },
  },
});
const authority = new URL(values.authority).origin;

const pages = new URL("./", import.meta.url);
const client = new URL("../../js/packages/client/dist/", import.meta.url);
const types = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml" };

const headers = {
  "Cache-Control": "no-store", // Back asks again, and finds nobody signed in.
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Content-Security-Policy":
    `default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src ${authority}; ` +
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
};

const server = createServer(async (request, response) => {
  const answer = (status, type, body) =>
    response.writeHead(status, { ...headers, "Content-Type": `${type}; charset=utf-8` }).end(request.method === "HEAD" ? "" : body);
  try {
    if (request.method !== "GET" && request.method !== "HEAD") return answer(405, "text/plain", "Only GET\n");
    const { pathname } = new URL(request.url, "http://localhost");
    if (pathname === "/") return response.writeHead(302, { ...headers, Location: "/Login.html" }).end();
    if (pathname === "/config.js") return answer(200, "text/javascript", `export const authority = ${JSON.stringify(authority)};\n`);

    // A plain name in one of two folders, and nothing that leads out of them.
    const [, inClient, name] = /^\/(curfew-client\/)?([\w-]+\.(?:html|css|js|svg))$/.exec(pathname) ?? [];
    if (!name) return answer(404, "text/plain", "There is nothing here\n");
    answer(200, types[extname(name)], await readFile(new URL(name, inClient ? client : pages)));
  } catch (e) {
    if (e.code !== "ENOENT") console.error(e);
    answer(404, "text/plain", "There is nothing here. The client is built by: npm run build -w @curfew/client\n");
  }
});

server.listen(Number(values.port), "127.0.0.1", () => {
  const { port } = server.address();
  console.log(`http://127.0.0.1:${port}/Login.html  (authority ${authority})`);
});

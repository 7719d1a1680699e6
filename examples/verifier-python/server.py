"""A service that answers who is calling, and stops doing so the moment the session has ended.

    CURFEW_AUTHORITY=https://id.example.com CURFEW_VERIFIER_KEY=crv_... PORT=8081 python3 server.py

It is as small as a service can be. README.md lists the variables and the paths.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from curfew_verifier import Expired, Refused, Revoked, Stale, Verifier


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, port: int, verifier: Verifier) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.verifier = verifier


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # for a connection that is kept and not used
    wbufsize = -1  # headers and body leave together: two small segments would wait for an acknowledgement in between
    disable_nagle_algorithm = True

    @property
    def verifier(self) -> Verifier:
        assert isinstance(self.server, Server)
        return self.server.verifier

    def do_GET(self) -> None:
        if "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body is not read, and must not be taken for the next request
        match self.path.partition("?")[0]:
            case "/":
                self.who()
            case "/status":
                self.answer(200, self.verifier.status())
            case "/healthz":
                status = self.verifier.status()
                self.answer(503 if status["stale"] else 200, status)
            case _:
                self.answer(404, {"error_code": "not_found"})

    def who(self) -> None:
        scheme, _, token = ", ".join(self.headers.get_all("Authorization", ())).partition(" ")
        if scheme.lower() != "bearer" or not token:
            return self.answer(401, {"error_code": "no_credential"}, {"WWW-Authenticate": "Bearer"})
        try:
            claims = self.verifier.check(token)
        except Stale:
            # Not 401: nothing is wrong with the session, and the client must keep it.
            return self.answer(503, {"error_code": "stale"}, {"Retry-After": "1"})
        except Refused as err:
            code = {Expired: "token_expired", Revoked: "session_revoked"}.get(type(err), "invalid_token")
            return self.answer(401, {"error_code": code}, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        self.answer(200, {"subject": claims.sub})

    def answer(self, status: int, members: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(members).encode() + b"\n"
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: a line for each request is somebody else's business."""


def main() -> None:
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        authority = os.environ.get("CURFEW_AUTHORITY", "http://127.0.0.1:8080")
        audience = os.environ.get("CURFEW_AUDIENCE", "curfew")
        verifier = Verifier(authority, os.environ.get("CURFEW_VERIFIER_KEY", ""), audience)
        server = Server(int(os.environ.get("PORT", "0")), verifier)
    except (ValueError, OSError) as err:
        sys.exit(f"server.py: {err}")
    with server:
        with verifier:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
            stop.wait()
        # The verifier has ended first: every answer is 503 from then on, and only then was the lease given back.
        server.shutdown()


if __name__ == "__main__":
    main()

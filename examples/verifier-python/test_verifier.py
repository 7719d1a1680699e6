"""What the vectors cannot show: threads, HTTP, pauses, and the process. Run: python3 -m unittest"""

from __future__ import annotations

import gzip
import http.client
import json
import logging
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import curfew_verifier
from curfew_verifier import Denylist, Entry, Feed, HTTPTransport, Instant, Invalid, Outcome, Revoked, Stale, Verifier

HERE = pathlib.Path(__file__).parent
WIRETEST = HERE.parents[1] / "internal" / "wiretest"
TOKENS = {name: token["text"] for name, token in json.loads((WIRETEST / "tokens.json").read_text("utf-8")).items()}
KEYS = json.loads((WIRETEST / "keys.json").read_text("utf-8"))["es1"]
START_US = 1_800_000_000_000_000

ALICE, BOB = TOKENS["alice"], TOKENS["bob"]
REVOKE_ALICE = "session s-alice 1800000601 - user"


def answer(head: dict[str, Any], lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in (json.dumps(head), *lines)).encode()


def grant(poll: int, seq: int, lines: list[str], **more: Any) -> bytes:
    head = {"poll": poll, "log": "first", "seq": seq, "hash": f"hash {seq}", "entries": len(lines)}
    return answer(head | {"lease_us": 3_000_000, "time_us": START_US, "horizon": 0, "keys": KEYS} | more, lines)


class FeedTest(unittest.TestCase):
    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.now = Instant(0, START_US)
        self.meanwhile: Callable[[], Any] = lambda: None
        self.feed = Feed("curfew", self.clock)

    def clock(self) -> Instant:
        self.meanwhile()
        return self.now

    def follow(self, seq: int, *lines: str, **more: Any) -> Outcome:
        poll = self.feed.poll()
        return self.feed.receive(poll, 200, grant(poll.number, seq, list(lines), **more))

    def test_the_lease_is_read_before_the_denylist(self) -> None:
        """Rule 4: a thread that is paused in the middle of a check must not miss what is applied meanwhile."""
        self.follow(0)
        self.feed.check(ALICE)

        def paused() -> None:
            self.meanwhile = lambda: None
            self.follow(1, f"1 {REVOKE_ALICE}")

        self.meanwhile = paused
        with self.assertRaises(Revoked):
            self.feed.check(ALICE)

    def test_a_snapshot_of_another_past_ends_the_lease(self) -> None:
        self.follow(2, "1 session x 0 - user", f"2 {REVOKE_ALICE}")
        head = {"log": "first", "seq": 1, "hash": "h", "entries": 0, "horizon": 0, "everything": 0, "clients": {}}
        self.assertTrue(self.feed.take_snapshot(200, answer(head, [])))
        with self.assertRaises(Stale):
            self.feed.check(ALICE)

    def test_answers_that_cross_a_confirm(self) -> None:
        """A confirm and a poll under way bring the same entry; an answer from before a snapshot brings nothing."""
        self.follow(0)
        poll, confirm = self.feed.poll(), self.feed.poll(confirm="text")
        self.feed.receive(confirm, 200, grant(confirm.number, 1, [f"1 {REVOKE_ALICE}"], confirm="text", lease_us=0))
        with self.assertRaises(Revoked):
            self.feed.check_confirmed(ALICE, confirm)
        lines = [f"1 {REVOKE_ALICE}", "2 session s-bob 0 - user"]
        self.assertIs(self.feed.receive(poll, 200, grant(poll.number, 2, lines)), Outcome.APPLIED)
        self.assertEqual(self.feed.position().seq, 2)

        confirm = self.feed.poll(confirm="text")
        head = {"log": "first", "seq": 5, "hash": "h", "entries": 0, "horizon": 0, "everything": 0, "clients": {}}
        self.assertTrue(self.feed.take_snapshot(200, answer(head, [])))
        self.feed.receive(confirm, 200, grant(confirm.number, 2, [], confirm="text", lease_us=0))
        with self.assertRaises(Stale):
            self.feed.check_confirmed(BOB, confirm)
        self.assertEqual(self.feed.position().seq, 5)

    def test_how_long_a_poll_may_be_held(self) -> None:
        self.assertEqual(self.feed.poll().body["wait_ms"], 0, "nobody is served before the first grant")
        self.follow(0)
        self.assertEqual(self.feed.poll().body["wait_ms"], 1000)
        self.now = Instant(3_000_000, START_US)
        self.assertEqual(self.feed.poll().body["wait_ms"], 0, "nobody is served without a lease")

    def test_at_most_5000_sessions_are_reported_at_once(self) -> None:
        self.follow(0, report_seen=True)
        self.feed._seen = {f"s-{n}": self.now for n in range(6000)}
        self.assertEqual(len(self.feed.poll().body["seen"]), 5000)
        self.follow(0, report_seen=True)
        self.assertEqual(len(self.feed.poll().body["seen"]), 1000)

    def test_the_cache_is_bounded(self) -> None:
        keys = curfew_verifier.KeySet(KEYS)
        bound, curfew_verifier._MAX_CACHED = curfew_verifier._MAX_CACHED, 1
        self.addCleanup(setattr, curfew_verifier, "_MAX_CACHED", bound)
        first = keys.read(ALICE, "curfew")
        self.assertIs(keys.read(ALICE, "curfew"), first)
        keys.read(BOB, "curfew")
        with self.assertRaises(Invalid):
            keys.read(TOKENS["signature-high-twin"], "curfew")
        self.assertEqual(list(keys._genuine), [BOB])

    def test_the_denylist_forgets_what_the_horizon_covers(self) -> None:
        denylist = Denylist(7, {"web": 5})
        for seq in range(3000):
            kind, end = ("session", "subject")[seq % 2], (100, 200, 0)[seq % 3]
            denylist.add(Entry.parse(f"{seq} {kind} t-{seq} {end} - user".encode()))
        denylist.add(Entry.parse(b"3000 client app 100 - admin"))
        pruned = denylist.pruned(100)
        self.assertEqual((len(denylist), len(pruned)), (3000, 2000))
        self.assertIs(pruned.pruned(200), pruned, "a list that has not doubled is not worth a copy")
        self.assertEqual((pruned._everything, pruned._clients), (7, {"web": 5, "app": 3000}))


class Authority(ThreadingHTTPServer):
    """As much of an authority as a verifier needs to see. It starts with a log of two entries."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Front)
        self.changed = threading.Condition()
        self.lines = ["1 session s-other 0 - user", "2 session s-third 0 - user"]
        self.status = 200
        self.polls: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def revoke(self, line: str) -> None:
        with self.changed:
            self.lines.append(f"{len(self.lines) + 1} {line}")
            self.changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: a verifier that shuts down hangs up on the poll that is being held."""

    def until(self, condition: Callable[[], bool]) -> bool:
        with self.changed:
            return self.changed.wait_for(condition, 10)


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def authority(self) -> Authority:
        assert isinstance(self.server, Authority)
        return self.server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        me = self.authority
        with me.changed:
            me.polls.append(asked)
            me.keys.append(self.headers["Authorization"])
            me.changed.notify_all()
            if me.status != 200:
                return self.reply(me.status, b'{"error_code":"unavailable"}')
            if asked.get("release"):
                return self.reply(204, b"")
            if asked["log"] == "":
                return self.reply(409, b'{"error_code":"snapshot_required"}')
            me.changed.wait_for(lambda: len(me.lines) > asked["seq"], asked["wait_ms"] / 1000)
            lines = me.lines[asked["seq"] :]
            more = {"confirm": asked["confirm"], "lease_us": 0} if "confirm" in asked else {}
            self.reply(200, grant(asked["poll"], len(me.lines), lines, **more))

    def do_GET(self) -> None:
        lines = self.authority.lines
        head = {"log": "first", "seq": len(lines), "hash": "h", "entries": len(lines), "horizon": 0, "everything": 0}
        body = answer(head | {"keys": KEYS}, lines)
        # Two members of gzip, as an authority writes that compresses its blocks once.
        self.reply(200, gzip.compress(body[:100]) + gzip.compress(body[100:]), {"Content-Encoding": "gzip"})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class HTTPTest(unittest.TestCase):
    def setUp(self) -> None:
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)
        self.authority = Authority()
        self.addCleanup(self.authority.server_close)
        self.addCleanup(self.authority.shutdown)

    def eventually(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            time.sleep(0.01)

    def test_following(self) -> None:
        authority = self.authority
        with Verifier(authority.url, "crv_test") as verifier:
            self.eventually(lambda: not verifier.status()["stale"])
            self.assertEqual(verifier.check(ALICE).sub, "alice")
            authority.revoke(REVOKE_ALICE)
            self.assertTrue(authority.until(lambda: authority.polls[-1]["seq"] == 3), "not acknowledged")
            with self.assertRaises(Revoked):
                verifier.check(ALICE)
            self.assertEqual(verifier.check(BOB).sub, "bob")
            with self.assertRaises(Revoked):
                verifier.check_strict(ALICE)
            self.assertEqual(verifier.check_strict(BOB).sub, "bob")
        self.assertTrue(authority.polls[-1]["release"])
        self.assertEqual(set(authority.keys), {"Bearer crv_test"})
        self.assertEqual(len({poll["instance"] for poll in authority.polls}), 1)
        numbers = [poll["poll"] for poll in authority.polls]
        self.assertEqual(sorted(numbers), list(range(1, len(numbers) + 1)))
        with self.assertRaises(Stale):
            verifier.check(BOB)

    def test_pauses_grow(self) -> None:
        self.authority.status = 503
        with Verifier(self.authority.url) as verifier:
            time.sleep(0.5)  # polls at 0, 0.05, 0.15 and 0.35
            self.assertIn(len(self.authority.polls), (3, 4))
            self.authority.status = 200
            self.eventually(lambda: not verifier.status()["stale"])

    def test_only_a_loopback_may_be_called_in_the_clear(self) -> None:
        for url in ("http://id.example.com", "http://10.0.0.1", "http://127.0.0.1.example", "ftp://localhost", "id"):
            with self.subTest(url), self.assertRaises(ValueError):
                HTTPTransport(url)
        for url in ("https://id.example.com/auth/", "http://localhost:8080", "http://127.0.0.2", "http://[::1]:8080"):
            HTTPTransport(url)

    def test_server(self) -> None:
        env = os.environ | {"CURFEW_AUTHORITY": self.authority.url, "CURFEW_VERIFIER_KEY": "crv_test", "PORT": "0"}
        command = [sys.executable, HERE / "server.py"]
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        line = process.stdout.readline()
        self.assertRegex(line, r"\Alistening on http://127\.0\.0\.1:[0-9]+\n\Z")
        connection = http.client.HTTPConnection("127.0.0.1", int(line.rpartition(":")[2]), timeout=10)
        self.addCleanup(connection.close)

        def get(path: str, *credentials: str) -> tuple[int, dict[str, Any], http.client.HTTPMessage]:
            connection.putrequest("GET", path)
            for credential in credentials:
                connection.putheader("Authorization", credential)
            connection.endheaders()
            response = connection.getresponse()
            return response.status, json.loads(response.read()), response.headers

        self.eventually(lambda: get("/healthz")[0] == 200)
        sock = connection.sock
        self.assertEqual(get("/", f"Bearer {ALICE}")[:2], (200, {"subject": "alice"}))
        for credentials, code, challenge in (
            ((), "no_credential", "Bearer"),
            (("Basic YTpi",), "no_credential", "Bearer"),
            ((f"Bearer {ALICE}", f"Bearer {BOB}"), "invalid_token", 'Bearer error="invalid_token"'),
            ((f"Bearer {ALICE}=",), "invalid_token", 'Bearer error="invalid_token"'),
            ((f"Bearer {TOKENS['old']}",), "token_expired", 'Bearer error="invalid_token"'),
        ):
            status, body, headers = get("/", *credentials)
            self.assertEqual((status, body, headers["WWW-Authenticate"]), (401, {"error_code": code}, challenge))
        self.authority.revoke(REVOKE_ALICE)
        self.eventually(lambda: get("/status")[1]["applied"] == 3)
        self.assertEqual(get("/", f"Bearer {ALICE}")[:2], (401, {"error_code": "session_revoked"}))
        self.assertEqual(get("/nothing")[0], 404)
        self.assertIs(connection.sock, sock, "the connection was not kept")

        self.authority.status = 503
        self.eventually(lambda: get("/healthz")[0] == 503)
        status, body, headers = get("/", f"Bearer {BOB}")
        self.assertEqual((status, body, headers["Retry-After"]), (503, {"error_code": "stale"}, "1"))

        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)
        self.assertTrue(self.authority.polls[-1]["release"])

    def test_server_refuses_an_authority_in_the_clear(self) -> None:
        env = os.environ | {"CURFEW_AUTHORITY": "http://id.example.com"}
        run = subprocess.run([sys.executable, HERE / "server.py"], env=env, capture_output=True, text=True, timeout=30)
        self.assertEqual((run.returncode, run.stdout), (1, ""))
        self.assertIn("https", run.stderr)


if __name__ == "__main__":
    unittest.main()

"""Plays the dialogues of internal/wiretest with the verifier. Run: python3 -m unittest"""

from __future__ import annotations

import json
import logging
import pathlib
import re
import unittest
from collections.abc import Callable
from typing import Any

from curfew_verifier import Expired, Feed, Instant, Invalid, Outcome, Poll, Revoked, Stale

WIRETEST = pathlib.Path(__file__).parents[2] / "internal" / "wiretest"
START_US = 1_800_000_000_000_000

VERDICTS = {Stale: "stale", Invalid: "invalid", Expired: "expired", Revoked: "revoked"}


class Player:
    """A verifier whose clock and authority are the steps of a vector."""

    def __init__(self, test: unittest.TestCase, vector: dict[str, Any], tokens: dict[str, str]) -> None:
        self.test, self.tokens = test, tokens
        self.mono, self.wall = 0, vector.get("wall_us", START_US)
        self.feed = Feed(vector["audience"], lambda: Instant(self.mono, self.wall))
        self.instance = ""
        self.poll: Poll
        self.asks_snapshot = self.must_take_snapshot = False

    def play(self, step: dict[str, Any]) -> None:
        passed = step.pop("at_us") - self.mono
        self.mono, self.wall = self.mono + passed, self.wall + passed
        [(action, value)] = step.items()
        getattr(self, f"on_{action}")(value)

    def on_wall_jump_us(self, jump: int) -> None:
        self.wall += jump

    def on_poll(self, expected: dict[str, Any], **kind: Any) -> None:
        self.test.assertFalse(self.must_take_snapshot, "asks for a snapshot that nobody told it to take")
        self.poll = self.feed.poll(**kind)
        body = json.loads(json.dumps(self.poll.body))
        for name, value in expected.items():
            self.test.assertEqual(body.get(name), value, f"{name} of the poll at {self.mono} us")
        self.test.assertRegex(body["instance"], re.compile(r"\A[0-9a-f]{32}\Z"))
        self.test.assertIn(self.instance, ("", body["instance"]))
        self.instance = body["instance"]
        self.test.assertIs(type(body["wait_ms"]), int)

    def on_confirm(self, expected: dict[str, Any]) -> None:
        self.on_poll(expected, confirm="a fresh text")

    def on_close(self, expected: dict[str, Any]) -> None:
        self.on_poll(expected, release=True)

    def on_snapshot(self, _: bool) -> None:
        self.test.assertTrue(self.must_take_snapshot, "does not ask for the snapshot")
        self.asks_snapshot, self.must_take_snapshot = True, False

    def on_lost(self, _: bool) -> None:
        self.asks_snapshot = False

    def on_reply(self, reply: dict[str, Any]) -> None:
        body = reply.get("body", "")
        if "head" in reply:
            head = json.dumps(reply["head"]).replace('"$poll"', str(self.poll.number))
            head = head.replace('"$confirm"', json.dumps(self.poll.confirm))
            body = "".join(line + "\n" for line in (head, *reply.get("lines", ())))
        if self.asks_snapshot:
            self.asks_snapshot = False
            self.feed.take_snapshot(reply["status"], body.encode())
        else:
            outcome = self.feed.receive(self.poll, reply["status"], body.encode())
            self.must_take_snapshot = outcome is Outcome.SNAPSHOT

    def on_check(self, expected: dict[str, str]) -> None:
        self.compare(expected, self.feed.check)

    def on_strict_check(self, expected: dict[str, str]) -> None:
        self.compare(expected, lambda token: self.feed.check_confirmed(token, self.poll))

    def on_active(self, names: list[str]) -> None:
        for name in names:
            self.feed.check(self.tokens[name], active=True)

    def compare(self, expected: dict[str, str], check: Callable[[str], Any]) -> None:
        for name, verdict in expected.items():
            with self.test.subTest(token=name, at_us=self.mono):
                try:
                    check(self.tokens[name])
                    got = "ok"
                except tuple(VERDICTS) as err:
                    got = VERDICTS[type(err)]
                self.test.assertEqual(got, verdict)


class VectorTest(unittest.TestCase):
    """One test for each vector; they are added below."""

    def setUp(self) -> None:
        logging.disable(logging.WARNING)  # most vectors are about answers that deserve one
        self.addCleanup(logging.disable, logging.NOTSET)

    def play(self, path: pathlib.Path) -> None:
        tokens = json.loads((WIRETEST / "tokens.json").read_text("utf-8"))
        text = path.read_text("utf-8")
        for name, keys in json.loads((WIRETEST / "keys.json").read_text("utf-8")).items():
            text = text.replace(f'"${name}"', json.dumps(keys))
        vector = json.loads(text)
        player = Player(self, vector, {name: token["text"] for name, token in tokens.items()})
        for step in vector["steps"]:
            player.play(step)


def _add_vectors() -> None:
    paths = sorted((WIRETEST / "vectors").glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"no vectors in {WIRETEST}")
    for path in paths:
        setattr(VectorTest, "test_" + path.stem.replace("-", "_"), lambda self, path=path: self.play(path))


_add_vectors()

if __name__ == "__main__":
    unittest.main()

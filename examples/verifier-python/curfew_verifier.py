"""A verifier for Curfew: it accepts or refuses access tokens without a call for each of them.

It follows docs/protocol.md, and the rules it cites are numbered there and in docs/guarantees.md.

    with Verifier("https://id.example.com", key="crv_...") as verifier:
        claims = verifier.check(token)      # or raises Stale, Invalid, Expired or Revoked

`Feed` is the protocol: what is known, what may be answered from it, and what an answer of the authority changes. It
does no I/O and is given its clock, so that the shared vectors can drive it. `Verifier` adds HTTP, a thread and pauses.
"""

from __future__ import annotations

import base64
import enum
import gzip
import http.client
import ipaddress
import itertools
import json
import logging
import re
import secrets
import socket
import ssl
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

log = logging.getLogger("curfew")


class Stale(Exception):
    """No verdict: there is no lease, so nothing may be answered. The bearer gets a 503 and keeps the session."""


class Refused(Exception):
    """A verdict on the token: it does not count. The bearer gets a 401."""


class Invalid(Refused):
    """Not a genuine token of this issuer for this audience, or not in its one spelling."""


class Expired(Refused):
    """Genuine, but its time is over."""


class Revoked(Refused):
    """Genuine, but its session, or more than that, was ended."""


class Malformed(ValueError):
    """What was received is not what the protocol says."""


# --- Spelling


def _strict_object(data: bytes) -> dict[str, Any]:
    """Reads a JSON object and refuses what two readers could read in two ways."""

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(out := dict(members)) != len(members):
            raise Malformed("duplicate member")
        return out

    def constant(name: str) -> None:
        raise Malformed(f"{name} is not JSON")

    try:
        value = json.loads(data.decode(), object_pairs_hook=pairs, parse_constant=constant)
        # Half a surrogate pair is no character. Other readers replace it, so that different names become one.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as err:
        raise Malformed("not strict JSON") from err
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def _text(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{name} is missing or not a text")
    return value


def _number(members: Mapping[str, Any], name: str, least: int = 0) -> int:
    value = members.get(name)
    # By type and not by isinstance: to Python true is an int. Fractions and exponents are floats, and refused as well.
    if type(value) is not int or not least <= value < 1 << 63:
        raise Malformed(f"{name} is missing or not a whole number")
    return value


def _decode_segment(segment: str) -> bytes:
    """Decodes canonical base64url. Python skips foreign characters and unused bits, so the way back must agree."""
    data = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=") != segment.encode():
        raise Malformed("not canonical base64url")
    return data


# --- Keys and tokens

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_MAX_TOKEN: Final = 4096  # bounds the work on a text that nobody has vouched for
_MAX_CACHED: Final = 10_000
_SEGMENTS: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


@dataclass(frozen=True)
class Claims:
    """What a genuine token says, by the names of RFC 9068, and the key that signed it. `raw` has all claims."""

    iss: str
    sub: str
    aud: tuple[str, ...]
    client_id: str
    sid: str
    jti: str
    iat: int
    exp: int
    ver: int
    kid: str
    raw: Mapping[str, Any] = field(repr=False)


class Key(NamedTuple):
    """A public key and its one algorithm. What a token says about algorithms is only compared with it."""

    kid: str
    alg: str
    public: PublicKey

    @classmethod
    def from_jwk(cls, jwk: Any) -> Key:
        """Reads a public JSON Web Key, or raises Malformed for one that is of no use here, symmetric ones included."""
        if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
            raise Malformed("not a signature key")

        def octets(name: str) -> bytes:
            return _decode_segment(_text(jwk, name))

        def integer(name: str) -> int:
            return int.from_bytes(octets(name), "big")

        public: PublicKey
        try:
            match jwk.get("alg"), jwk.get("kty"), jwk.get("crv"):
                case "ES256", "EC", "P-256":
                    public = ec.EllipticCurvePublicNumbers(integer("x"), integer("y"), ec.SECP256R1()).public_key()
                case "EdDSA", "OKP", "Ed25519":
                    public = ed25519.Ed25519PublicKey.from_public_bytes(octets("x"))
                case "RS256", "RSA", _:
                    public = rsa.RSAPublicNumbers(integer("e"), integer("n")).public_key()
                    if not 2048 <= public.key_size <= 4096:
                        raise Malformed("RSA key is too short or too long")
                case _:
                    raise Malformed("unknown algorithm, or a key that does not suit it")
        except (ValueError, UnsupportedAlgorithm) as err:
            raise Malformed(str(err)) from err
        return cls(_text(jwk, "kid"), jwk["alg"], public)

    def verify(self, signed: bytes, signature: bytes) -> None:
        """Raises Malformed or InvalidSignature unless `signature` is the one of `signed`."""
        if isinstance(self.public, rsa.RSAPublicKey):
            return self.public.verify(signature, signed, padding.PKCS1v15(), SHA256())
        if isinstance(self.public, ed25519.Ed25519PublicKey):
            return self.public.verify(signature, signed)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        # With (r, s) goes (r, n-s), which anybody can compute. Only the one with the lower s is a spelling.
        if len(signature) != 64 or not 0 < r < _P256_ORDER or not 0 < s <= _P256_ORDER // 2:
            raise Malformed("bad signature, or the high twin of one")
        return self.public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


class KeySet:
    """The issuer's keys at one time, and the tokens that were found genuine with them.

    A new set begins with an empty cache, so no token outlives its key there. Only what does not change is remembered:
    lease, time and revocation are asked about at every check.
    """

    def __init__(self, members: Any) -> None:
        jwks = members.get("set") if isinstance(members, dict) else None
        if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
            raise Malformed("no key set")
        self.version: Final = _text(members, "version")
        self.issuer: Final = _text(members, "issuer")
        self._keys: dict[str, Key] = {}
        for jwk in jwks["keys"]:
            try:
                key = Key.from_jwk(jwk)
            except Malformed as err:
                log.info("a key of the set is left out: %s", err)
            else:
                self._keys.setdefault(key.kid, key)  # a later key cannot take over a name
        self._genuine: dict[str, Claims] = {}
        self._lock = threading.Lock()

    def read(self, token: str, audience: str) -> Claims:
        """Returns the claims of a token that is genuine, whatever has become of it since, or raises Invalid."""
        # Found by the whole text. Nothing is refused by text, and no token can be accepted under two.
        claims = self._genuine.get(token)
        if claims is None:
            try:
                claims = self._parse(token, audience)
            except (Malformed, InvalidSignature) as err:
                raise Invalid(str(err) or "bad signature") from None
            with self._lock:
                if len(self._genuine) >= _MAX_CACHED:
                    del self._genuine[next(iter(self._genuine))]
                self._genuine[token] = claims
        return claims

    def _parse(self, token: str, audience: str) -> Claims:
        match = _SEGMENTS.fullmatch(token) if len(token) <= _MAX_TOKEN else None
        if match is None:
            raise Malformed("not three segments of base64url")
        header = _strict_object(_decode_segment(match[1]))
        if header.get("typ") != "at+jwt":
            raise Malformed("not an access token")  # ID tokens and logout tokens are signed with the same keys
        if not header.keys().isdisjoint(("crit", "b64", "zip")):
            raise Malformed("header has an extension")  # they change what is signed, or how it is read
        key = self._keys.get(_text(header, "kid"))
        if key is None or header.get("alg") != key.alg:
            raise Malformed("unknown key, or not its algorithm")
        key.verify(f"{match[1]}.{match[2]}".encode(), _decode_segment(match[3]))

        payload = _strict_object(_decode_segment(match[2]))
        aud: list[Any] = payload["aud"] if isinstance(payload.get("aud"), list) else [payload.get("aud")]
        if audience not in aud or not all(isinstance(one, str) for one in aud):
            raise Malformed("wrong audience")
        if payload.get("iss") != self.issuer:
            raise Malformed("wrong issuer")
        return Claims(
            iss=self.issuer,
            sub=_text(payload, "sub"),
            aud=tuple(aud),
            client_id=_text(payload, "client_id"),
            sid=_text(payload, "sid"),
            jti=_text(payload, "jti"),
            iat=_number(payload, "iat"),
            exp=_number(payload, "exp"),
            ver=_number(payload, "ver"),
            kid=key.kid,
            raw=payload,
        )


# --- Revocations

_NEVER: Final = 1 << 63
_TARGETED: Final = frozenset(("token", "session", "key", "subject", "client"))
_FIELD: Final = rb"((?:[!-$&-~]|%[0-9A-Fa-f]{2})+)"  # of ! to ~, where % begins an escape
_COUNT: Final = rb"(0|[1-9][0-9]{0,15})"
_LINE: Final = re.compile(b" ".join((_COUNT, _FIELD, _FIELD, _COUNT, _FIELD, _FIELD)))


class Entry(NamedTuple):
    """One line of the log. The reason at its end concerns no verifier."""

    seq: int
    kind: str | None
    target: str | None
    expires: int
    issuer: str | None

    @classmethod
    def parse(cls, line: bytes) -> Entry:
        match = _LINE.fullmatch(line)
        if match is None:
            raise Malformed("line of the log")
        kind, target, issuer = (_unescape(match[i]) for i in (2, 3, 5))
        entry = cls(int(match[1]), kind, target, int(match[4]) or _NEVER, issuer)
        if entry.target is None and entry.kind in _TARGETED:
            raise Malformed("revocation of nothing")
        return entry


def _unescape(value: bytes) -> str | None:
    # What is not UTF-8 stays distinct; no token can name it.
    return None if value == b"-" else urllib.parse.unquote_to_bytes(value).decode("utf-8", "surrogateescape")


class Denylist:
    """Every revocation that a living token could meet.

    One thread adds while others look. Every step of either is one operation on a dict, which Python does as a whole.
    """

    def __init__(self, everything: int = 0, clients: Mapping[str, int] | None = None) -> None:
        self._everything = everything  # this and the next two are epochs: a token with a lower `ver` is dead
        self._clients = dict(clients or {})
        self._subjects: dict[str, tuple[int, int]] = {}  # with the time when the entry expires
        self._dead: dict[str, dict[str, int]] = {"token": {}, "session": {}, "key": {}}  # target -> expires
        self._prune_at = 1000

    def add(self, entry: Entry) -> None:
        """Adds an entry. When it returns, every check that starts later sees it."""
        seq, kind, target, expires, issuer = entry
        if issuer is not None:
            return  # about tokens of another issuer, and none of those is accepted here
        if kind in self._dead and target is not None:
            self._dead[kind][target] = max(expires, self._dead[kind].get(target, 0))
        elif kind == "subject" and target is not None:
            self._subjects[target] = (seq, max(expires, self._subjects.get(target, (0, 0))[1]))
        elif kind == "client" and target is not None:
            self._clients[target] = max(seq, self._clients.get(target, 0))
        else:  # everything, and what a newer authority may mean: only this is sure to cover it
            self._everything = max(seq, self._everything)

    def check(self, claims: Claims) -> None:
        """Raises Revoked unless every level says that the token lives."""
        if (
            claims.ver < self._everything
            or claims.sid in self._dead["session"]
            or claims.jti in self._dead["token"]
            or claims.ver < self._subjects.get(claims.sub, (0, 0))[0]
            or claims.ver < self._clients.get(claims.client_id, 0)
            or claims.kid in self._dead["key"]
        ):
            raise Revoked("token has been revoked")

    def pruned(self, horizon: int) -> Denylist:
        """Returns a copy without what expired up to the horizon, or the list itself while it has grown little. The
        epochs of clients and of everything stay for ever."""
        if len(self) < self._prune_at:
            return self
        out = Denylist(self._everything, self._clients)
        out._subjects = {name: epoch for name, epoch in self._subjects.items() if epoch[1] > horizon}
        for kind, old in self._dead.items():
            out._dead[kind] = {name: end for name, end in old.items() if end > horizon}
        out._prune_at = 1000 + 2 * len(out)
        return out

    def __len__(self) -> int:
        return len(self._subjects) + sum(map(len, self._dead.values()))


# --- The protocol


class Instant(NamedTuple):
    """A reading of both clocks, in microseconds."""

    mono: int
    wall: int

    def until(self, now: Instant) -> int:
        """Time gone by, rule 9: a monotonic clock may stand still while the machine sleeps, and a wall clock may be set
        back. The larger difference counts, so the wall clock can only shorten a lease."""
        return max(now.mono - self.mono, now.wall - self.wall)


def system_clock() -> Instant:
    return Instant(time.monotonic_ns() // 1000, time.time_ns() // 1000)


class Position(NamedTuple):
    """Up to where everything is in the denylist, and in which log."""

    log: str
    seq: int
    hash: str


class Lease(NamedTuple):
    """The right to answer from memory, and the authority's time at the moment from which it counts."""

    sent: Instant
    length_us: int
    time_us: int


class View(NamedTuple):
    """What a check goes by. What belongs together is replaced together: keys and the denylist of the same log, a pruned
    denylist and the horizon that makes up for what is missing. Entries are added to a denylist in place."""

    keys: KeySet | None
    denylist: Denylist
    horizon: int


@dataclass
class Poll:
    """A poll that was composed, and when. `body` is what to send."""

    number: int
    sent: Instant
    position: Position
    generation: int
    seen: dict[str, Instant]
    confirm: str
    body: dict[str, Any]
    confirmed_us: int | None = None  # authority time of the answer to a confirm


class Outcome(enum.Enum):
    """What an answer came to, and so what to do next."""

    APPLIED = "poll again at once: that is the acknowledgement"
    IDLE = "nothing new: poll again"
    DISCARDED = "pause, then poll again"
    SNAPSHOT = "take a snapshot"


def _parse_answer(body: bytes) -> tuple[dict[str, Any], Position, list[Entry]]:
    """Reads a grant or a snapshot. It is good as a whole or not at all: progress must not overtake data."""
    first, newline, rest = body.partition(b"\n")
    head = _strict_object(first)
    lines = rest.split(b"\n")
    if not newline or lines.pop() != b"" or len(lines) != _number(head, "entries"):
        raise Malformed("number of lines")
    hash_ = head.get("hash")
    if not isinstance(hash_, str):
        raise Malformed("hash")
    position = Position(_text(head, "log"), _number(head, "seq"), hash_)
    entries = [Entry.parse(line) for line in lines]
    if [entry.seq for entry in entries] != list(range(position.seq - len(lines) + 1, position.seq + 1)):
        raise Malformed("lines are not dense, or do not end at seq")
    return head, position, entries


def _horizon(head: Mapping[str, Any]) -> int:
    return _number(head, "horizon", least=-1 << 63)  # of an authority that never forgot anything it lies anywhere


def _keys_of(head: Mapping[str, Any]) -> KeySet | None:
    return KeySet(head["keys"]) if "keys" in head else None


class Feed:
    """What is known of the revocation log, and the right to use it. Safe for many threads."""

    MAX_SEEN: Final = 5000

    def __init__(self, audience: str, clock: Callable[[], Instant]) -> None:
        if not audience:
            raise ValueError("an empty audience must not read as any")
        self._audience, self._clock = audience, clock
        self._instance = secrets.token_hex(16)  # anew: what a former process acknowledged is not in this memory
        self._lock = threading.Lock()
        # These two are replaced as wholes under the lock, and read without it.
        self._lease: Lease | None = None
        self._view = View(None, Denylist(), 0)
        self._position = Position("", 0, "")
        self._generation = 0  # counts snapshots: an answer to what was asked before one does not follow on it
        self._polls = self._newest = 0
        self._closed = False
        self.failure = ""  # why the latest answer was not taken
        self._latest_us = 0
        self._report_seen = False
        self._seen: dict[str, Instant] = {}

    def check(self, token: str, *, active: bool = False) -> Claims:
        """Returns the claims of a token that counts. `active` says that a person is behind the request."""
        # Rule 4: the lease before the denylist. In the other order a thread that is paused in between launders its old
        # look with a lease that was renewed only after the revocation had been applied.
        lease, now = self._lease, self._clock()
        passed = lease.sent.until(now) if lease else 0
        if lease is None or passed >= lease.length_us:
            raise Stale("no lease")
        claims = self._judge(token, lease.time_us + passed)
        if active and self._report_seen:
            with self._lock:
                self._seen[claims.sid] = now
        return claims

    def check_confirmed(self, token: str, poll: Poll) -> Claims:
        """Like check, but rests on a confirm that was sent after the request arrived, and on no clock."""
        if poll.confirmed_us is None:
            raise Stale("not confirmed")
        return self._judge(token, poll.confirmed_us)

    def _judge(self, token: str, time_us: int) -> Claims:
        view = self._view
        if view.keys is None:
            raise Stale("no keys")
        claims = view.keys.read(token, self._audience)
        with self._lock:  # authority time never goes back, or what has expired would come back to life
            time_us = self._latest_us = max(self._latest_us, time_us)
        if time_us >= claims.exp * 1_000_000:
            raise Expired("token has expired")
        view.denylist.check(claims)
        if claims.exp <= view.horizon:
            raise Expired("token expired before the horizon")
        return claims

    def lease_left_us(self) -> int:
        lease = self._lease
        return max(0, lease.length_us - lease.sent.until(self._clock())) if lease else 0

    def position(self) -> Position:
        return self._position

    def poll(self, *, confirm: str = "", release: bool = False) -> Poll:
        """Composes the next poll. The lease counts from now (rule 1), so it is to be sent at once. With `release` the
        feed stops answering first, for good."""
        with self._lock:
            if release:
                self._closed, self._lease = True, None
            ordinary = not confirm and not release
            seen = dict(itertools.islice(self._seen.items(), self.MAX_SEEN)) if ordinary else {}
            self._polls += 1
            poll = Poll(self._polls, self._clock(), self._position, self._generation, seen, confirm, {})
            keys, left = self._view.keys, self.lease_left_us()
            poll.body = {"instance": self._instance, "poll": poll.number, **poll.position._asdict()}
            poll.body["keys"] = keys.version if keys else ""
            # Without a lease nobody is served, so the answer must not wait for something new.
            poll.body["wait_ms"] = self._lease.length_us // 3000 if ordinary and self._lease and left else 0
            if seen:
                poll.body["seen"] = {sid: at.until(poll.sent) // 1000 for sid, at in seen.items()}
            if confirm:
                poll.body["confirm"] = confirm
            if release:
                poll.body["release"] = True
            if ordinary:
                self._newest = poll.number
            return poll

    def receive(self, poll: Poll, status: int, body: bytes) -> Outcome:
        """Takes the answer to a poll."""
        if status == 409:
            return Outcome.SNAPSHOT  # and the old lease runs on
        try:
            if status != 200:
                raise Malformed(f"status {status}: {body[:200]!r}")
            outcome = self._apply(poll, body)
        except Malformed as err:
            self.failure = f"an answer to a poll is discarded: {err}"
            return Outcome.DISCARDED
        self.failure = ""
        return outcome

    def _apply(self, poll: Poll, body: bytes) -> Outcome:
        head, position, entries = _parse_answer(body)
        if position.seq - len(entries) != poll.position.seq or poll.position.log not in ("", position.log):
            raise Malformed("does not follow on what was applied")
        if _number(head, "poll") != poll.number or head.get("confirm", "") != poll.confirm:
            raise Malformed("answers another poll")
        length_us, time_us, horizon = _number(head, "lease_us"), _number(head, "time_us"), _horizon(head)
        keys = _keys_of(head)
        with self._lock:
            if self._closed or poll.generation != self._generation or not poll.confirm and poll.number != self._newest:
                raise Malformed("answers an older poll")
            # A confirm and a poll may be under way together and bring the same entries.
            fresh = [entry for entry in entries if entry.seq > self._position.seq]
            for entry in fresh:
                self._view.denylist.add(entry)
            horizon = max(horizon, self._view.horizon)
            self._view = View(keys or self._view.keys, self._view.denylist.pruned(horizon), horizon)
            self._position = max(position, self._position, key=lambda p: p.seq)
            self._latest_us = max(self._latest_us, time_us)
            if poll.confirm:
                poll.confirmed_us = time_us
            else:
                # The lease comes last: nobody may use it before what came with it.
                self._lease = Lease(poll.sent, length_us, time_us)
                self._report_seen = head.get("report_seen") is True
                self._seen = {sid: at for sid, at in self._seen.items() if poll.seen.get(sid) != at}
        return Outcome.APPLIED if fresh or keys else Outcome.IDLE

    def take_snapshot(self, status: int, body: bytes) -> bool:
        """Replaces the denylist, and says whether it did. A snapshot brings no lease; the next poll does."""
        try:
            if status != 200:
                raise Malformed(f"status {status}: {body[:200]!r}")
            head, position, entries = _parse_answer(body)
            clients = head.get("clients") or {}
            if not isinstance(clients, dict):
                raise Malformed("clients")
            denylist = Denylist(_number(head, "everything"), {name: _number(clients, name) for name in clients})
            horizon, keys = _horizon(head), _keys_of(head)
        except Malformed as err:
            self.failure = f"a snapshot is discarded: {err}"
            return False
        for entry in entries:
            denylist.add(entry)
        with self._lock:
            if position.log != self._position.log or position.seq < self._position.seq:
                self._lease = None  # it was given for another past, of which more had been acknowledged
            self._view = View(keys or self._view.keys, denylist, max(horizon, self._view.horizon))
            self._position = position
            self._generation += 1
        return True


# --- HTTP


class Reply(NamedTuple):
    status: int
    body: bytes
    retry_after: float = 0.0


class HTTPTransport:
    """Calls the authority. Calls with `keep`, which are made one at a time, share a connection."""

    def __init__(self, authority: str, key: str = "") -> None:
        url = urllib.parse.urlsplit(authority)
        if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment or url.username:
            raise ValueError(f"authority {authority!r} is not of the form https://HOST[:PORT][/PATH]")
        if url.scheme == "http" and not _is_loopback(url.hostname):
            # Whoever can forge an answer can forge keys.
            raise ValueError(f"authority {authority!r} is not on this machine and must be called by https")
        if not re.fullmatch("[!-~]*", key):
            raise ValueError("the key has a character that no key has")
        self._host, self._port, self._path = url.hostname, url.port, url.path.rstrip("/")
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._headers = {"Accept-Encoding": "gzip"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._kept: http.client.HTTPConnection | None = None

    def call(self, path: str, body: Mapping[str, Any] | None, timeout: float, *, keep: bool = False) -> Reply:
        """Posts a body, or gets without one. It raises OSError if there is no answer."""
        connection = self._kept if keep and self._kept else self._connection()
        self._kept = connection if keep else self._kept
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        done = False
        try:
            if body is None:
                connection.request("GET", self._path + path, headers=self._headers)
            else:
                headers = self._headers | {"Content-Type": "application/json"}
                connection.request("POST", self._path + path, json.dumps(body).encode(), headers)
            response = connection.getresponse()
            data = response.read()
            done = True
            if response.headers.get("Content-Encoding") == "gzip":
                data = gzip.decompress(data)  # of several members, too
        except (http.client.HTTPException, EOFError, zlib.error) as err:
            raise OSError(f"no answer: {err!r}") from err
        finally:
            if not keep or not done:
                connection.close()  # and an answer that comes too late is never read as that of the next call
        after = response.headers.get("Retry-After", "")
        return Reply(response.status, data, float(after) if after.isdecimal() else 0.0)

    def abort(self) -> None:
        """Ends the call with `keep` that is under way, if there is one."""
        if self._kept is not None and (sock := self._kept.sock) is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)  # close would not wake the thread that reads
            except OSError:
                pass  # it has ended by itself

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Verifier:
    """Follows an authority in a thread of its own and checks tokens. Any thread may ask.

    To be used in the process that made it: a copy that fork makes would answer from a memory that nobody updates.
    """

    MIN_PAUSE: Final = 0.05
    MAX_PAUSE: Final = 1.0
    MAX_RETRY_AFTER: Final = 30.0
    GRACE: Final = 2.0  # seconds that an answer may take beyond the time for which it may be held
    SNAPSHOT_TIMEOUT: Final = 30.0

    def __init__(self, authority: str, key: str = "", audience: str = "curfew") -> None:
        self._transport = HTTPTransport(authority, key)
        self._feed = Feed(audience, system_clock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="curfew-feed", daemon=True)

    def __enter__(self) -> Verifier:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops answering and tells the authority, so that no logout waits for the rest of the lease."""
        self._stop.set()
        poll = self._feed.poll(release=True)
        self._transport.abort()
        try:
            self._transport.call("/feed/poll", poll.body, self.GRACE)
        except OSError as err:
            log.warning("the lease was not released: %s", err)
        self._thread.join(self.GRACE)

    def check(self, token: str, *, active: bool = True) -> Claims:
        """Returns the claims of a token that counts, or raises Stale, Invalid, Expired or Revoked.

        `active=False` is for what a page does by itself, which must not keep an idle session alive.
        """
        return self._feed.check(token, active=active)

    def check_strict(self, token: str) -> Claims:
        """Like check, but asks the authority now and trusts no clock. It costs a round trip."""
        poll = self._feed.poll(confirm=secrets.token_hex(16))
        try:
            reply = self._transport.call("/feed/poll", poll.body, self.GRACE)
        except OSError as err:
            raise Stale(str(err)) from err
        self._feed.receive(poll, reply.status, reply.body)
        return self._feed.check_confirmed(token, poll)

    def status(self) -> dict[str, Any]:
        """Where the verifier stands, for people and probes."""
        feed, left = self._feed, self._feed.lease_left_us()
        return {
            "applied": feed.position().seq,
            "lease_left_ms": left // 1000,
            "stale": left == 0,
            "failure": feed.failure,
        }

    def _follow(self) -> None:
        pause = backoff = 0.0
        while not self._stop.wait(pause):
            began = time.monotonic()
            reply, outcome, before = Reply(0, b""), Outcome.DISCARDED, self._feed.failure
            try:
                reply, outcome = self._turn()
            except OSError as err:
                self._feed.failure = f"the authority does not answer: {err}"
            except Exception as err:  # without this thread the verifier would be stale for ever
                self._feed.failure = f"following the feed failed: {err!r}"
            if self._feed.failure != before and not self._stop.is_set():
                log.warning("%s", self._feed.failure or "the authority answers again")
            if outcome is Outcome.DISCARDED:
                backoff = min(max(2 * backoff, self.MIN_PAUSE), self.MAX_PAUSE)
                pause = max(backoff, min(reply.retry_after, self.MAX_RETRY_AFTER))
            else:
                # An authority that holds no polls, or gives no lease, must not be asked in a busy loop.
                idle = began + self.MIN_PAUSE - time.monotonic() if outcome is Outcome.IDLE else 0
                backoff, pause = 0.0, max(0.0, idle)

    def _turn(self) -> tuple[Reply, Outcome]:
        """One poll, with the snapshot that it may call for."""
        poll = self._feed.poll()
        reply = self._transport.call("/feed/poll", poll.body, poll.body["wait_ms"] / 1000 + self.GRACE, keep=True)
        outcome = self._feed.receive(poll, reply.status, reply.body)
        if outcome is Outcome.SNAPSHOT:
            reply = self._transport.call("/feed/snapshot", None, self.SNAPSHOT_TIMEOUT)
            # Not at once if that was quick: the next poll may be told the same.
            outcome = Outcome.IDLE if self._feed.take_snapshot(reply.status, reply.body) else Outcome.DISCARDED
        return reply, outcome

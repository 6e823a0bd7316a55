"""The ingress from the side of a client of HTTP/2: frames in any order, some of them damaged, and what else happens.

The machine is driven without a socket. It may refuse anything, but each request that an upstream gets is one request,
read strictly, that has nothing which a field's value smuggled in; and what a client makes us keep is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hpack import Encoder
from hyperframe.frame import Frame

from emulab.servers.configuration import from_json
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.engine.http2.connection import Http2Machine
from emulab.servers.l7.engine.snapshot import take
from emulab.servers.l7.engine.surroundings import EngineSurroundings
from emulab.servers.l7.messages.response import UpstreamResponse
from emulab.servers.wire.http2 import PREFACE

from .reading import requests_in

_PSEUDO = [
    *((":method", one) for one in ("GET", "POST", "HEAD", "CONNECT", "G T", "GET / HTTP/1.1\r\nx: ", "")),
    *((":path", one) for one in ("/", "/a?b", "*", "", "/ HTTP/1.1", "/\r\ninjected: 1", "http://x/", "/%00", "/é")),
    *((":scheme", one) for one in ("https", "http", "", "1x")),
    *((":authority", one) for one in ("h", "", "a b", "h\r\ninjected: 1", "a/b")),
    (":status", "200"), (":protocol", "websocket"),
]  # fmt: skip
_PLAIN = [(":method", "POST"), (":path", "/"), (":scheme", "https"), (":authority", "h")]
_FIELDS = [
    ("host", "h"), ("host", "other"), ("content-length", "5"), ("content-length", "0"), ("content-length", "x"),
    ("transfer-encoding", "chunked"), ("connection", "close, x"), ("upgrade", "websocket"), ("te", "trailers"),
    ("expect", "100-continue"), ("cookie", "a=1"), ("cookie", "b=2"), ("x", "a\r\ninjected: 1"), ("x\r\ninjected", "1"),
    ("x", "a\0b"), ("X", "upper"), ("a_b", "c"), ("a b", "c"), ("", "empty"), ("x:y", "z"), ("x", "v" * 9000),
    ("x-forwarded-for", "1.2.3.4"), ("x", "é"), ("x", "\t v "),
]  # fmt: skip
_BOUND = 1 << 22
_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n"


class _Wanted:
    wanted = True


class _Log:
    room = 1 << 30

    def __init__(self) -> None:
        self.missed: Counter[str] = Counter()

    def takes(self, log: str) -> bool:
        return True


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


class _Client:
    """Says frames."""

    def __init__(self, random: Random) -> None:
        self._random, self._encoder, self._next = random, Encoder(), 1

    def _stream(self) -> int:
        random = self._random
        return random.choice((0, 1, 2, random.randrange(self._next + 4), max(1, self._next - 2), 1 << 31))

    def _block(self) -> bytes:
        random = self._random
        fields = list(_PLAIN)
        if random.random() < 0.4:
            fields[random.randrange(4)] = random.choice(_PSEUDO)
        for _ in range(random.choice((0, 0, 1, 2, 5))):
            fields.insert(random.randrange(len(fields) + 1), random.choice([*_FIELDS, *_FIELDS, *_PSEUDO]))
        return self._encoder.encode([(name.encode(), value.encode()) for name, value in fields])

    def headers(self) -> bytes:
        random = self._random
        stream = self._next if random.random() < 0.95 else self._stream()
        self._next = max(self._next, (stream & 0x7FFFFFFF) + 2 if stream < 1 << 20 else 0)
        block, flags = self._block(), random.choice((0, 1))
        if random.random() < 0.1:
            flags, block = flags | 0x20, random.randbytes(5) + block
        if random.random() < 0.15:
            cut = random.randrange(len(block) + 1)
            more = _frame(9, 4, stream, block[cut:]) if random.random() < 0.8 else self.other()
            return _frame(1, flags, stream, block[:cut]) + more
        return _frame(1, flags | 4, stream, block)

    def other(self) -> bytes:
        random, stream = self._random, self._stream()
        match random.randrange(9):
            case 0 | 1:
                return _frame(
                    0, random.choice((0, 0, 1)), stream, b"d" * random.choice((0, 1, 5, 5000, 16384))
                )
            case 2:
                return _frame(3, 0, stream, random.randbytes(4))
            case 3:
                number, value = random.randrange(9), random.choice((0, 1, 100, 65535, (1 << 31) - 1, 1 << 31))
                return _frame(
                    4, random.choice((0, 0, 0, 1)), 0, number.to_bytes(2, "big") + value.to_bytes(4, "big")
                )
            case 4:
                return _frame(6, random.choice((0, 1)), 0, random.randbytes(8))
            case 5:
                return _frame(8, 0, stream, random.choice((b"\0\0\0\0", b"\0\0\x10\0", b"\x7f\xff\xff\xff")))
            case 6:
                return _frame(2, 0, stream, random.randbytes(5))
            case 7:
                return _frame(7, 0, 0, random.randbytes(8))
            case _:
                return _frame(
                    random.randrange(12),
                    random.randrange(256),
                    stream,
                    random.randbytes(random.randrange(40)),
                )

    def say(self) -> bytes:
        return self.headers() if self._random.random() < 0.5 else self.other()


class _Shell:
    """Carries out what the machine wants, with servers that do as chance has it."""

    def __init__(self, random: Random, machine: Http2Machine) -> None:
        self._random, self._machine = random, machine
        self._servers: dict[int, Any] = {}
        self.written: dict[int, list[bytes]] = {}
        self.ended = False

    def carry_out(self) -> bytes:
        out, machine = b"", self._machine
        while True:
            streams = machine.concerned()
            for stream in streams:
                self._stream(stream)
            data, commands = machine.output(), list(machine.commands)
            machine.commands = []
            out += data
            for word, _ in commands:
                self.ended = self.ended or word in ("close", "abort", "end")
                if word == "settle":
                    machine.settle(0.0)
            if not streams and not data and not commands:
                return out

    def _stream(self, stream: Any) -> None:
        self._commands(stream)
        stream.flush(0.0)
        self._commands(stream)

    def _commands(self, stream: Any) -> None:
        number = stream.number
        while stream.commands:
            word, argument = stream.commands.pop(0)
            if word == "select" and stream.exchange is not None:
                self._servers[number] = stream
                stream.exchange.vacant(0.0)
            elif word == "forward":
                self.written[number][-1] += argument
            elif word in ("drop", "release"):
                self._servers.pop(number, None)
            elif word == "send":
                stream.write(argument)
            elif word == "end":
                stream.end()
            elif word == "close":
                stream.cut(0.0)

    def happen(self) -> None:
        """Something at the upstreams' side."""
        random = self._random
        for number, stream in list(self._servers.items()):
            exchange = stream.exchange
            if exchange is None or random.random() < 0.5:
                continue
            if not exchange.linked:
                if random.random() < 0.1:
                    exchange.refused("no", False, 0.0)
                    continue
                data = exchange.connected(UpstreamResponse(), "s", False, 0.0)
                self.written.setdefault(number, []).append(data)
                continue
            match random.randrange(5):
                case 0:
                    exchange.upstream_filled(random.random() < 0.5, 0.0)
                case 1:
                    exchange.upstream_ended(random.random() < 0.5, 0.0)
                case 2:
                    stream.write(exchange.answer(_LONG, 0.0))
                case 3:
                    stream.write(exchange.answer(_CHUNKED, 0.0))
                case _:
                    stream.write(exchange.answer(b"HTTP/1.1 204 No Content\r\n\r\n", 0.0))
            self._machine._concern(stream)


def _check_frames(data: bytes, shown: str) -> None:
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        assert length <= 1 << 24 and len(data) >= 9 + length, shown
        data = data[9 + length :]


def _input(random: Random) -> bytes:
    client = _Client(random)
    data = bytearray(PREFACE + _frame(4, 0, 0, b""))
    for _ in range(random.choice((1, 3, 10, 40))):
        data += client.say()
    if random.random() < 0.3:
        for _ in range(random.choice((1, 3))):
            data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def run(random: Random, going: Callable[[], bool]) -> int:
    route = {
        "match": {"path_type": "Prefix"},
        "backends": [{"upstream": "up"}],
        "policy": {"body_max": 20000},
    }
    told = {"listen": [], "routes": [route], "upstreams": {"up": {"servers": ["10.0.0.1:80"]}}}
    snapshot, count = take(from_json(L7Config, told), {}), 0
    while going():
        count += 1
        around = EngineSurroundings(
            snapshot, _Wanted(), lambda: b"Date: now\r\n", lambda: b"f" * 32, _Log(), lambda: 0.0
        )
        machine = Http2Machine(around, "https", ("192.0.2.7", "192.0.2.7:4000"), ("443", "192.0.2.1:443"))
        shell, data = _Shell(random, machine), _input(random)
        shown = data.hex()
        machine.begun(0.0, 0, None)
        sent = shell.carry_out()
        try:
            while data and not shell.ended:
                cut = random.choice((1, 9, 100, len(data)))
                machine.received(data[:cut], 0.0)
                data = data[cut:]
                sent += shell.carry_out()
                shell.happen()
                if random.random() < 0.1:
                    (machine.drained if machine.stalled else machine.filled)(0.0)
                sent += shell.carry_out()
                assert len(machine.streams) <= 128, shown
                assert sum(len(one.pending) for one in machine.streams.values()) < _BOUND, shown
            if random.random() < 0.5:
                machine.expired(1000.0)
                sent += shell.carry_out()
            machine.gone(1001.0)
            shell.carry_out()
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(f"{error!r} after {shown}") from error
        assert not machine.streams and not machine.blocked, shown
        _check_frames(sent, shown)
        for written in (one for many in shell.written.values() for one in many if one):
            found = requests_in(written)
            assert len(found.messages) + found.waits == 1 and not (found.messages and found.rest), (
                f"{len(found.messages)} requests, {found.waits}, {written[:300]!r} … {written[-300:]!r} of {shown}"
            )
            assert b"\r\ninjected" not in written.lower(), f"{written!r} of {shown}"
    return count

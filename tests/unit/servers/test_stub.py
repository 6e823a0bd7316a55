"""The stub resolver: what it reads, which names it tries, whom it asks."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from emulab.errors import PeerError, UserError
from emulab.servers import stub, stubquestions
from emulab.servers.stub import ResolverConfig, families_at, resolve, resolve_all
from emulab.servers.stubquestions import AskedServer, CannotTell, Manner, ask_server

POD = "search app.svc.k. svc.k.\nnameserver 10.96.0.10\nnameserver 10.0.0.2\noptions ndots:5 edns0\n"
HOSTS = "127.0.0.1\tlocalhost\n::1 localhost six\n10.0.0.1 a a.test # b\n10.0.0.2 a\n\n# 10.0.0.3 c\n"


async def no_socket(family: int, kind: int) -> socket.socket:
    raise AssertionError("nobody is to be asked")


def test_what_the_files_say() -> None:
    found = ResolverConfig.parse(POD, HOSTS)
    assert found.servers == ("10.96.0.10", "10.0.0.2") and found.search == ("app.svc.k.", "svc.k.")
    assert found.ndots == 5
    assert found.hosts == {"localhost": ("127.0.0.1",), "a": ("10.0.0.1",), "a.test": ("10.0.0.1",)}
    assert ResolverConfig.parse("", "") == ResolverConfig((), (), 1, {})


@pytest.mark.parametrize(
    ("options", "ndots", "timeout", "attempts", "words"),
    [
        ("timeout:1 attempts:3 single-request", 1, 1, 3, "in_turn"),
        (
            "ndots:99 timeout:99999999999 attempts:9\noptions single-request-reopen",
            15,
            30,
            5,
            "in_turn reopens",
        ),
        ("ndots:0 timeout:0 attempts:0 use-vc rotate", 0, 1, 1, "stream rotates"),
        ("ndots:many timeout attempts: ndots edns0", 1, 5, 2, ""),
    ],
)
def test_options_that_the_files_say(
    options: str, ndots: int, timeout: int, attempts: int, words: str
) -> None:
    found = ResolverConfig.parse(f"options {options}\n", "")
    assert (found.ndots, found.timeout, found.attempts) == (ndots, timeout, attempts)
    said = [word for word in ("in_turn", "reopens", "stream", "rotates") if getattr(found, word)]
    assert said == words.split()


def test_what_else_the_files_say() -> None:
    """The last of `search` and `domain` counts, and three name servers do (MAXNS)."""
    servers = "".join(f"nameserver 10.0.0.{n}  # {n}\n" for n in range(1, 6))
    hosts = "fd00::1 six.test\n"
    found = ResolverConfig.parse(f"search a b\ndomain c\n{servers}options no-aaaa\n", hosts, [SIX, FOUR])
    assert (found.search, found.servers) == (("c",), ("10.0.0.1", "10.0.0.2", "10.0.0.3"))
    # It is of questions alone (resolv.conf(5)).
    assert found.families == (FOUR,) and found.hosts == {"six.test": ("fd00::1",)}


@pytest.mark.parametrize(
    ("servers", "timeout", "waits"),
    [
        ("a", 5, [5]),
        ("ab", 5, [5, 5]),
        ("abc", 5, [5, 3, 6]),
        ("abc", 2, [2, 1, 2]),
        ("ab", 1, [1, 1]),
        ("", 5, []),
    ],
)
def test_how_long_servers_are_waited_for(servers: str, timeout: int, waits: list[int]) -> None:
    """As glibc was seen to wait."""
    turns = ResolverConfig(tuple(servers), (), 1, {}, timeout=timeout).turns()
    assert turns == [*zip(servers, waits, strict=True)]
    begun = [
        ResolverConfig(tuple(servers), (), 1, {}, timeout=timeout, rotates=True).turns() for _ in range(64)
    ]
    assert {turn[0] for turn in begun if turn} == set(turns)
    assert all(sorted(turn) == sorted(turns) for turn in begun)


def test_a_servers_families_are_those_of_its_sockets() -> None:
    four, six = int(socket.AF_INET), int(socket.AF_INET6)
    assert families_at(["tcp/fd00::2/80", "tcp/10.0.0.2/80@node1", "udp/fd00::2/53"]) == (six, four)
    assert families_at([]) == (four,)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", ["web.x.", "web.y.z.", "web."]),
        ("web.app", ["web.app.x.", "web.app.y.z.", "web.app."]),
        ("a.b.c", ["a.b.c.", "a.b.c.x.", "a.b.c.y.z."]),
        ("web.", ["web."]),
    ],
)
def test_candidates(name: str, expected: list[str]) -> None:
    assert ResolverConfig((), ("x", "y.z"), 2, {}).candidates(name) == expected


@pytest.mark.parametrize(
    ("name", "address"), [("10.1.2.3", "10.1.2.3"), ("[fd00::1]", "fd00::1"), ("a", "10.0.0.1")]
)
async def test_nobody_is_asked_for_what_is_known(name: str, address: str) -> None:
    assert await resolve(name, ResolverConfig.parse(POD, HOSTS), no_socket) == address


@pytest.mark.parametrize("name", ["a..b", "a" * 64, f"{'a' * 64}.test.", "a.b." * 64])
async def test_nobody_is_asked_for_what_is_no_name(name: str) -> None:
    with pytest.raises(UserError, match="1 to 63 octets from dot to dot, 253 in all"):
        await resolve(name, ResolverConfig.parse(POD, HOSTS), no_socket)


async def test_what_a_search_makes_too_long_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a." * 125 + "a"
    answers = Answers(monkeypatch, {(f"{name}.", "s1"): ["10.0.0.9"]})
    assert await resolve(name, ResolverConfig(("s1",), ("y.z",), 200, {}), no_socket) == "10.0.0.9"
    assert answers.asked == [(f"{name}.", "s1")]


class Answers:
    """Servers' answers by (name, server); None where one doesn't answer, a word where it refuses to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, known: dict[tuple[str, str], Any]) -> None:
        self.asked: list[tuple[str, str]] = []
        self._known = known
        monkeypatch.setattr(stub, "ask_server", self._ask)

    async def _ask(self, name: str, records: Any, asked: Any, manner: Any, open_socket: Any) -> list[str]:
        self.asked.append((name, asked.server))
        return given(self._known.get((name, asked.server), []))


def given(answer: Any) -> list[str]:
    if answer is None:
        raise TimeoutError
    if isinstance(answer, str):
        raise CannotTell(answer)
    if isinstance(answer, Exception):
        raise answer
    found: list[str] = answer
    return found


CONFIG = ResolverConfig(("s1", "s2"), ("x", "y"), 2, {})
X, Y, WEB = "web.x.", "web.y.", "web."
REFUSING = ConnectionRefusedError(111, "refused")


@pytest.mark.parametrize(
    ("known", "found", "asked"),
    [
        ({(WEB, "s1"): ["10.0.0.9", "10.0.0.8"]}, "10.0.0.9", [(X, "s1"), (Y, "s1"), (WEB, "s1")]),
        ({(X, "s1"): None, (X, "s2"): ["10.0.0.9"]}, "10.0.0.9", [(X, "s1"), (X, "s2")]),
        ({}, "web: no such name", [(X, "s1"), (Y, "s1"), (WEB, "s1")]),
        (  # silence: all servers again, then the name itself
            {(X, "s1"): None, (X, "s2"): None, (WEB, "s1"): ["10.0.0.9"]},
            "10.0.0.9",
            [*[(X, "s1"), (X, "s2")] * 2, (WEB, "s1")],
        ),
        (
            {(n, s): None for n in (X, Y, WEB) for s in ("s1", "s2")},
            "web: no answer from s1, s2$",
            [*[(X, "s1"), (X, "s2")] * 2, *[(WEB, "s1"), (WEB, "s2")] * 2],
        ),
        (  # nobody is there at all
            {(n, s): REFUSING for n in (X, Y, WEB) for s in ("s1", "s2")},
            r"web: no answer from s1, s2 \(Connection refused\)",
            [(X, "s1"), (X, "s2")] * 2,
        ),
        (  # who can't tell isn't believed: the next server, then the next name
            {(X, "s1"): "SERVFAIL", (X, "s2"): "SERVFAIL", (Y, "s1"): "SERVFAIL", (Y, "s2"): ["10.0.0.9"]},
            "10.0.0.9",
            [*[(X, "s1"), (X, "s2")] * 2, (Y, "s1"), (Y, "s2")],
        ),
        (  # another refusal is the list's end
            {(X, "s1"): "SERVFAIL", (X, "s2"): "REFUSED"},
            "web: not resolved, as s1 answered SERVFAIL",
            [*[(X, "s1"), (X, "s2")] * 2, (WEB, "s1")],
        ),
        ({(X, "s1"): PeerError("rubbish"), (X, "s2"): ["10.0.0.9"]}, "10.0.0.9", [(X, "s1"), (X, "s2")]),
    ],
    ids=[
        "searched",
        "second",
        "nobody has it",
        "silence",
        "silent",
        "gone",
        "SERVFAIL",
        "REFUSED",
        "rubbish",
    ],
)
async def test_whom_a_place_asks_for_which_names(
    known: dict[tuple[str, str], Any],
    found: str,
    asked: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As glibc was seen to ask."""
    answers = Answers(monkeypatch, known)
    if found[0].isdigit():
        assert await resolve("web", CONFIG, no_socket) == found
    else:  # that nobody has it is the user's matter, all else the servers'
        with pytest.raises(PeerError if known else UserError, match=found):
            await resolve("web", CONFIG, no_socket)
    assert answers.asked == asked


async def test_a_whole_name_is_searched_for_after_silence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(monkeypatch, {("a.b.c.", s): None for s in ("s1", "s2")})
    with pytest.raises(PeerError):
        await resolve("a.b.c", CONFIG, no_socket)
    assert answers.asked[4:] == [("a.b.c.x.", "s1"), ("a.b.c.y.", "s1")]


# Over real sockets: a server of loopback answers, by way of a socket that is sent to its port instead of 53.


class Server(asyncio.DatagramProtocol):
    """Answers a question with what `reply` makes of it, one datagram for each element; over TCP, too."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.questions: list[tuple[str, int]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.questions.append((f"udp {type_of(data)}", address[1]))
        for answer in self.reply(data, False):
            self.transport.sendto(answer, address)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        self.questions.append((f"tcp {type_of(data)}", writer.get_extra_info("peername")[1]))
        for answer in self.reply(data, True):
            writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()


async def ask(
    monkeypatch: pytest.MonkeyPatch, reply: Any, *records: str, patience: float = 20, manner: Any = None
) -> tuple[list[str], list[tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    server, connect = Server(reply), loop.sock_connect
    # The stream's port first: of these, thousands may be others' while all tests run.
    tcp = await asyncio.start_server(server.connected, "127.0.0.1", 0)
    port = tcp.sockets[0].getsockname()[1]
    transport, _ = await loop.create_datagram_endpoint(lambda: server, ("127.0.0.1", port))

    async def redirected(sock: socket.socket, address: Any) -> None:
        assert address == ("192.0.2.1", 53)
        await connect(sock, ("127.0.0.1", port))

    async def open_socket(family: int, kind: int) -> socket.socket:
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        return sock

    with monkeypatch.context() as patched:
        patched.setattr(loop, "sock_connect", redirected)
        asked = AskedServer("192.0.2.1", patience)
        try:
            found = await ask_server("web.test.", records or ("A",), asked, manner or Manner(), open_socket)
            return found, server.questions
        finally:
            transport.close()
            tcp.close()


def type_of(data: bytes) -> str:
    import dnslib

    return str(dnslib.QTYPE[dnslib.DNSRecord.parse(data).q.qtype])


def answer(data: bytes, *addresses: str, other_id: bool = False) -> bytes:
    import dnslib

    reply = dnslib.DNSRecord.parse(data).reply()
    reply.add_answer(*dnslib.RR.fromZone("web.test. 5 CNAME w2.test.\nw2.test. 5 AAAA fd00::1"))
    for address in addresses:
        reply.add_answer(*dnslib.RR.fromZone(f"w2.test. 5 A {address}"))
    reply.header.id ^= 1 if other_id else 0
    return bytes(reply.pack())


async def test_the_addresses_in_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = await ask(monkeypatch, lambda d, _: [answer(d, "10.0.0.9", "10.0.0.8")])
    assert (found, len(asked)) == (["10.0.0.9", "10.0.0.8"], 1)


async def test_an_answer_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found, asked = await ask(monkeypatch, lambda d, _: [answer(d)])
    assert (found, len(asked)) == ([], 1)


async def test_an_answer_to_another_question_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    late = lambda d, _: [answer(d, "192.0.2.66", other_id=True), answer(d, "10.0.0.9")]  # noqa: E731
    assert (await ask(monkeypatch, late))[0] == ["10.0.0.9"]


async def test_a_server_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotTell, match="SERVFAIL"):
        await ask(monkeypatch, lambda d, _: [d[:2] + b"\x81\x82" + d[4:]])


async def test_an_answer_that_was_cut_is_asked_for_again_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(data: bytes, stream: bool) -> list[bytes]:
        whole = answer(data, *(f"10.0.0.{n}" for n in range(90)))
        return [whole if stream else answer(data)[:2] + b"\x83\x80" + answer(data)[4:]]

    found, asked = await ask(monkeypatch, reply, "A", "AAAA")
    assert len(found) == 91 and sorted(q for q, _ in asked) == ["tcp A", "tcp AAAA", "udp A", "udp AAAA"]
    found, asked = await ask(monkeypatch, reply, "A", manner=Manner(stream=True))
    assert len(found) == 90 and [q for q, _ in asked] == ["tcp A"]
    with pytest.raises(ConnectionResetError, match="closed the connection before its answer"):
        await ask(monkeypatch, lambda d, _: [], manner=Manner(stream=True))


@pytest.mark.parametrize(
    ("manner", "asked"),
    [
        (Manner(), "AAAA A AAAA A AAAA A"),
        (Manner(in_turn=True), "AAAA A AAAA A"),
        (Manner(in_turn=True, reopens=True), "AAAA A"),
    ],
)
async def test_half_an_answer_is_asked_for_in_turn_and_then_taken(
    manner: Manner, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As glibc was seen to ask; and silence that is whole isn't asked again."""

    def reply(data: bytes, _: bool) -> list[bytes]:
        return [] if type_of(data) == "A" else [answer(data)]

    found, questions = await ask(monkeypatch, reply, "AAAA", "A", patience=0.2, manner=manner)
    assert found == ["fd00::1"] and [q.removeprefix("udp ") for q, _ in questions] == asked.split()
    with pytest.raises(TimeoutError):
        await ask(monkeypatch, lambda d, _: [], "AAAA", "A", patience=0.05, manner=manner)


async def test_what_is_no_dns_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerError, match=r"192\.0\.2\.1 answered web\.test\. with no DNS message"):
        await ask(monkeypatch, lambda d, _: [d[:5]])


# Families of addresses


FOUR, SIX = int(socket.AF_INET), int(socket.AF_INET6)


def test_hosts_of_the_places_own_families() -> None:
    hosts = HOSTS + "fd00::7 a\nfd00::8 b\n"
    assert ResolverConfig.parse(POD, hosts, [SIX]).hosts == {
        "localhost": ("::1",),
        "six": ("::1",),
        "a": ("fd00::7",),
        "b": ("fd00::8",),
    }
    both = {f: ResolverConfig.parse(POD, hosts, f).hosts for f in ((FOUR, SIX), (SIX, FOUR))}
    assert both[FOUR, SIX]["a"] == ("10.0.0.1", "fd00::7") and both[SIX, FOUR]["a"] == ("fd00::7", "10.0.0.1")
    assert both[FOUR, SIX]["b"] == ("fd00::8",) and both[SIX, FOUR]["a.test"] == ("10.0.0.1",)


@pytest.mark.parametrize(
    ("families", "known", "address", "asked"),
    [
        ((SIX,), {"AAAA": ["fd00::9"], "A": ["10.0.0.9"]}, "fd00::9", ["AAAA"]),
        ((FOUR, SIX), {"AAAA": ["fd00::9"], "A": ["10.0.0.9"]}, "10.0.0.9", ["A"]),
        ((SIX, FOUR), {"A": ["10.0.0.9"]}, "10.0.0.9", ["AAAA", "A"]),
    ],
)
async def test_records_of_the_places_own_families_are_asked_for(
    families: tuple[int, ...], known: dict[str, list[str]], address: str, asked: list[str], monkeypatch: Any
) -> None:
    found: list[str] = []

    async def answered(name: str, records: Any, asked: Any, manner: Any, open_socket: Any) -> list[str]:
        found.extend(records)
        return known.get(records[0], [])

    monkeypatch.setattr(stub, "ask_server", answered)
    config = ResolverConfig(("s1",), (), 1, {}, families)
    assert await resolve("web.test", config, no_socket) == address
    assert found == asked


@pytest.mark.parametrize(
    ("families", "known", "addresses", "asked"),
    [
        ((FOUR, SIX), {"AAAA": ["::1"], "A": ["127.0.0.1"]}, ["::1", "127.0.0.1"], ["AAAA", "A"]),
        ((SIX, FOUR), {"A": ["127.0.0.1", "127.0.0.2"]}, ["127.0.0.1", "127.0.0.2"], ["AAAA", "A"]),
        ((FOUR,), {"AAAA": ["::1"], "A": ["127.0.0.1"]}, ["127.0.0.1"], ["A"]),
        ((FOUR, SIX), {"AAAA": "SERVFAIL", "A": ["127.0.0.1"]}, ["127.0.0.1"], ["AAAA", "A"]),
        ((FOUR, SIX), {"AAAA": PeerError("rubbish"), "A": ["127.0.0.1"]}, ["127.0.0.1"], ["AAAA", "A"]),
        (
            (FOUR, SIX),
            {"AAAA": ["2001:db8::9"], "A": ["127.0.0.1"]},
            ["127.0.0.1", "2001:db8::9"],
            ["AAAA", "A"],
        ),
    ],
    ids=[
        "both",
        "IPv4 alone has any",
        "one family",
        "refused",
        "rubbish",
        "no way in IPv6",
    ],
)
async def test_a_client_asks_for_all_and_sorts_them(
    families: tuple[int, ...],
    known: dict[str, Any],
    addresses: list[str],
    asked: list[str],
    monkeypatch: Any,
) -> None:
    found: list[str] = []

    at_once = asyncio.Barrier(len(families))

    async def answered(name: str, record: str, *_: Any) -> list[str]:
        found.append(record)
        await at_once.wait()  # all are asked for before anything of it is known
        return given(known.get(record, []))

    class Sock(socket.socket):
        def connect(self, address: Any) -> None:
            if address[0].startswith("2001:"):
                raise OSError(101, "unreachable")
            super().connect(address)

    async def open_socket(family: int, kind: int) -> socket.socket:
        return Sock(family, kind)

    monkeypatch.setattr(stubquestions, "_ask", answered)
    config = ResolverConfig(("192.0.2.1",), (), 1, {}, families)
    async with asyncio.timeout(20):
        assert await resolve_all("web.test", config, open_socket) == addresses
    assert found == asked
    hosts = ResolverConfig.parse("", HOSTS, families)
    assert await resolve_all("localhost", hosts, open_socket) == (["::1"] if SIX in families else []) + [
        "127.0.0.1"
    ]


async def test_a_server_is_asked_by_a_socket_of_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[int, int]] = []

    async def open_socket(family: int, kind: int) -> socket.socket:
        opened.append((family, kind))
        raise OSError(101, "unreachable")

    config = ResolverConfig(("fd00::53", "10.0.0.53"), (), 1, {}, (FOUR,))
    with pytest.raises(PeerError, match=r"no answer from fd00::53, 10\.0\.0\.53 \(Network is unreachable\)"):
        await resolve("web.test", config, open_socket)
    assert opened == [(SIX, socket.SOCK_DGRAM), (FOUR, socket.SOCK_DGRAM)] * 2

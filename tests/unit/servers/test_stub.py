"""The stub resolver: what it reads, which names it tries, whom it asks."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from emulab.errors import PeerError, UserError
from emulab.servers import stub
from emulab.servers.stub import ResolverConfig, families_at, resolve, resolve_all

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
    ("options", "ndots", "timeout", "attempts", "in_turn"),
    [
        ("timeout:1 attempts:3 single-request", 1, 1, 3, True),
        ("ndots:99 timeout:99999999999 attempts:9\noptions single-request-reopen", 15, 30, 5, False),
        ("ndots:0 timeout:0 attempts:0", 0, 1, 1, False),
        ("ndots:many timeout attempts: ndots", 1, 2, 2, False),
    ],
)
def test_options_that_the_files_say(
    options: str, ndots: int, timeout: int, attempts: int, in_turn: bool
) -> None:
    found = ResolverConfig.parse(f"options {options}\n", "")
    assert (found.ndots, found.timeout, found.attempts) == (ndots, timeout, attempts)
    assert found.in_turn is in_turn


async def test_families_are_asked_for_in_turn_where_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    async def answered(sock: Any, name: str, server: str, config: Any, record: str) -> list[str]:
        told.append(record)
        await asyncio.sleep(0)
        told.append("over")
        return []

    async def open_socket(family: int, kind: int) -> socket.socket:
        return socket.socket(family, kind)

    monkeypatch.setattr(stub, "_ask_over", answered)
    config = ResolverConfig(("192.0.2.1",), (), 1, {}, (FOUR, SIX), in_turn=True)
    with pytest.raises(UserError):
        await resolve_all("web.test.", config, open_socket)
    assert told == ["AAAA", "over", "A", "over"]


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


def given(answer: Any) -> list[str] | None:
    if isinstance(answer, str):
        raise stub._CannotTell(answer)
    if isinstance(answer, Exception):
        raise answer
    found: list[str] | None = answer
    return found


class Answers:
    """Servers' answers by (name, server); None where one doesn't answer, a word where it refuses to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, known: dict[tuple[str, str], Any]) -> None:
        self.asked: list[tuple[str, str]] = []
        self._known = known
        monkeypatch.setattr(stub, "_ask", self._ask)

    async def _ask(
        self, name: str, server: str, config: Any, open_socket: Any, record: str
    ) -> list[str] | None:
        self.asked.append((name, server))
        return given(self._known.get((name, server), []))


CONFIG = ResolverConfig(("s1", "s2"), ("x",), 2, {})


async def test_the_search_list_is_gone_through(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(monkeypatch, {("web.", "s1"): ["10.0.0.9", "10.0.0.8"]})
    assert await resolve("web", CONFIG, no_socket) == "10.0.0.9"
    assert answers.asked == [("web.x.", "s1"), ("web.", "s1")]


async def test_the_second_server_is_for_when_the_first_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = Answers(monkeypatch, {("web.x.", "s1"): None, ("web.x.", "s2"): ["10.0.0.9"]})
    assert await resolve("web", CONFIG, no_socket) == "10.0.0.9"
    assert answers.asked == [("web.x.", "s1"), ("web.x.", "s2")]


async def test_a_name_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    Answers(monkeypatch, {})
    with pytest.raises(UserError, match="web: no such name"):
        await resolve("web", CONFIG, no_socket)


async def test_who_cannot_tell_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next server is asked, then the next name of the search list, as by glibc. It is no NXDOMAIN in the end."""
    known: dict[tuple[str, str], Any] = {(n, "s1"): "SERVFAIL" for n in ("web.x.", "web.")}
    answers = Answers(monkeypatch, known | {("web.", "s2"): ["10.0.0.9"]})
    assert await resolve("web", CONFIG, no_socket) == "10.0.0.9"
    assert answers.asked == [(n, s) for n in ("web.x.", "web.") for s in ("s1", "s2")]
    Answers(monkeypatch, known | {("web.x.", "s2"): None, ("web.", "s2"): "REFUSED"})
    with pytest.raises(PeerError, match="web: not resolved, as s1 answered SERVFAIL"):
        await resolve("web", CONFIG, no_socket)


async def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence says nothing about the name: that is the servers' fault, not the user's."""
    Answers(monkeypatch, {(n, s): None for n in ("web.x.", "web.") for s in ("s1", "s2")})
    with pytest.raises(PeerError):
        await resolve("web", CONFIG, no_socket)


# Over real sockets: a server of loopback answers, by way of a socket that is sent to its port instead of 53.


class Server(asyncio.DatagramProtocol):
    """Answers a question with what `reply` makes of it, one datagram for each element."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply
        self.questions: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.questions.append(data)
        for answer in self.reply(data):
            self.transport.sendto(answer, address)


async def ask(monkeypatch: pytest.MonkeyPatch, reply: Any, patience: float = 0.05) -> tuple[Any, int]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Server(reply), ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    connect = loop.sock_connect

    async def redirected(sock: socket.socket, address: Any) -> None:
        assert address == ("192.0.2.1", 53)
        await connect(sock, ("127.0.0.1", port))

    async def open_socket(family: int, kind: int) -> socket.socket:
        sock = socket.socket(family, kind)
        sock.setblocking(False)
        return sock

    monkeypatch.setattr(loop, "sock_connect", redirected)
    config = ResolverConfig((), (), 1, {}, timeout=patience)
    try:
        return await stub._ask("web.test.", "192.0.2.1", config, open_socket, "A"), len(server.questions)
    finally:
        transport.close()


def answer(data: bytes, *addresses: str, other_id: bool = False) -> bytes:
    import dnslib

    reply = dnslib.DNSRecord.parse(data).reply()
    reply.add_answer(*dnslib.RR.fromZone("web.test. 5 CNAME w2.test.\nw2.test. 5 AAAA fd00::1"))
    for address in addresses:
        reply.add_answer(*dnslib.RR.fromZone(f"w2.test. 5 A {address}"))
    reply.header.id ^= 1 if other_id else 0
    return bytes(reply.pack())


async def test_the_addresses_in_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    found = await ask(monkeypatch, lambda d: [answer(d, "10.0.0.9", "10.0.0.8")], 5)
    assert found == (["10.0.0.9", "10.0.0.8"], 1)


async def test_an_answer_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await ask(monkeypatch, lambda d: [answer(d)], 5) == ([], 1)


async def test_an_answer_to_another_question_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    late = lambda d: [answer(d, "192.0.2.66", other_id=True), answer(d, "10.0.0.9")]  # noqa: E731
    assert await ask(monkeypatch, late, 5) == (["10.0.0.9"], 1)


async def test_a_server_that_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(data: bytes) -> list[bytes]:
        return [data[:2] + b"\x81\x82" + data[4:]]

    with pytest.raises(stub._CannotTell, match="SERVFAIL"):
        await ask(monkeypatch, refused, 5)


async def test_silence_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await ask(monkeypatch, lambda d: []) == (None, 2)


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

    async def answered(name: str, server: str, config: Any, open_socket: Any, record: str) -> list[str]:
        found.append(record)
        return known.get(record, [])

    monkeypatch.setattr(stub, "_ask", answered)
    config = ResolverConfig(("s1",), (), 1, {}, families)
    assert await resolve("web.test", config, no_socket) == address
    assert found == asked


@pytest.mark.parametrize(
    ("families", "known", "addresses", "asked"),
    [
        ((FOUR, SIX), {"AAAA": ["::1"], "A": ["127.0.0.1"]}, ["::1", "127.0.0.1"], ["AAAA", "A"]),
        ((SIX, FOUR), {"A": ["127.0.0.1", "127.0.0.2"]}, ["127.0.0.1", "127.0.0.2"], ["AAAA", "A"]),
        ((FOUR,), {"AAAA": ["::1"], "A": ["127.0.0.1"]}, ["127.0.0.1"], ["A"]),
        ((FOUR, SIX), {"AAAA": None, "A": ["127.0.0.1"]}, ["127.0.0.1"], ["AAAA", "A"]),
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
        "no answer for AAAA",
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

    async def answered(sock: Any, name: str, server: str, config: Any, record: str) -> list[str] | None:
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

    monkeypatch.setattr(stub, "_ask_over", answered)
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
    assert opened == [(SIX, socket.SOCK_DGRAM), (FOUR, socket.SOCK_DGRAM)]


async def test_what_is_no_dns_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerError, match=r"192\.0\.2\.1 answered web\.test\. with no DNS message"):
        await ask(monkeypatch, lambda d: [d[:5]], 5)

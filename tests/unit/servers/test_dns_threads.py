"""UDP ports that are asked a lot, and so read by threads: on loopback, asked with the same sockets throughout."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import dnslib
import pytest
from loopback import beside, held
from patience import LONG, until
from test_dns_responder import configured

from emulab.servers.configuration import from_json
from emulab.servers.dns import datagrams, udpport
from emulab.servers.dns.config import DnsConfig
from emulab.servers.dns.responder import Responder
from emulab.servers.dns.settings import DnsSettings
from emulab.servers.dns.udpport import UdpPort

ZONE = "example.com."
RTYPES = {"A": dnslib.QTYPE.A, "TXT": dnslib.QTYPE.TXT}
OFTEN = udpport._OFTEN + 2  # the first one isn't finished, the last one finds the thread begun


def zones(address: str, names: int = 1) -> list[dict[str, object]]:
    return [{"origin": ZONE, "records": [[f"n{i}.{ZONE}", "A", address, 30] for i in range(names)]}]


def quiet(*clock, **rest) -> Responder:
    """A responder of which nobody wants to hear."""
    responder = configured(*clock, **rest)
    responder._emit.wanted = False
    return responder


class Asker:
    """A client that asks one query after the other, or many at once."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in to[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(to)
        self.sock.setblocking(False)
        self._id = 0

    async def ask(self, name: str = f"n0.{ZONE}", rtype: str = "A") -> dnslib.DNSRecord:
        (answer,) = await self.ask_all([name], rtype)
        return answer

    async def ask_all(self, names: list[str], rtype: str = "A") -> list[dnslib.DNSRecord]:
        """Sends all queries at once; the answers are in their order, and all of them come."""
        loop, waiting = asyncio.get_running_loop(), {}
        for name in names:
            self._id = self._id % 65535 + 1
            query = dnslib.DNSRecord(
                dnslib.DNSHeader(id=self._id, rd=1), q=dnslib.DNSQuestion(name, RTYPES[rtype])
            )
            waiting[self._id] = None
            await loop.sock_sendall(self.sock, bytes(query.pack()))
        for _ in names:
            answer = dnslib.DNSRecord.parse(await asyncio.wait_for(loop.sock_recv(self.sock, 4096), LONG))
            assert waiting[answer.header.id] is None, "answered twice"
            waiting[answer.header.id] = answer
        return list(waiting.values())

    async def ask_often(self, name: str = f"n0.{ZONE}") -> None:
        for _ in range(OFTEN):
            await self.ask(name)


@contextmanager
def asking(port: tuple[str, int]) -> Iterator[Asker]:
    asker = Asker(port)
    try:
        yield asker
    finally:
        asker.sock.close()


@asynccontextmanager
async def threaded(responder: Responder, **how):
    """A port that a thread reads, and who has asked it so often."""
    sock = beside(held("udp"))
    address = sock.getsockname()
    port = UdpPort(sock, responder, **{"within": LONG, "patience": LONG} | how)
    try:
        with asking(address) as asker:
            await asker.ask_often()
            assert port.threaded
            yield port, asker
    finally:
        port.close()
        await until(lambda: not port.threaded)
        await responder.close(0.0)
        assert sock.fileno() == -1


def hold_up_until(condition: Callable[[], bool]) -> None:
    """Keeps the loop from doing anything until something is so."""
    limit = time.monotonic() + LONG
    while not condition() and time.monotonic() < limit:
        time.sleep(0.01)


def addresses(answer: dnslib.DNSRecord) -> list[str]:
    return [str(record.rdata) for record in answer.rr]


async def test_a_thread_gives_finished_answers_and_the_loop_all_others():
    responder = quiet(zones=zones("203.0.113.1", 3))
    before = {*threading.enumerate()}
    async with threaded(responder) as (port, asker):
        (own,) = {*threading.enumerate()} - before
        assert addresses(await asker.ask()) == ["203.0.113.1"]
        worked = responder.worked
        assert addresses(await asker.ask(f"n1.{ZONE}")) == ["203.0.113.1"]
        assert (await asker.ask(f"other.{ZONE}")).header.rcode == dnslib.RCODE.NXDOMAIN
        assert responder.worked == worked + 2
        assert addresses(await asker.ask(f"n1.{ZONE}")) == ["203.0.113.1"]
        assert responder.worked == worked + 2
        assert port.threaded
    await until(lambda: not own.is_alive())


async def test_every_answer_is_counted_whoever_gave_it():
    responder = quiet(zones=zones("203.0.113.1", 40))
    async with threaded(responder) as (_, asker):
        names = [f"n{i % 40}.{ZONE}" for i in range(150)]
        for _ in range(5):
            assert {tuple(addresses(one)) for one in await asker.ask_all(names)} == {("203.0.113.1",)}
        assert responder.status()["queries"] == OFTEN + 5 * 150


async def test_what_changes_is_so_from_the_next_query_on():
    responder = quiet(zones=zones("203.0.113.1"))
    async with threaded(responder) as (port, asker):
        for last in range(2, 200):
            told = {"listen": [], "events_per_second": 0, "zones": zones(f"203.0.113.{last}")}
            responder.configure(DnsSettings().changed(from_json(DnsConfig, told)))
            for _ in range(6):
                assert addresses(await asker.ask()) == [f"203.0.113.{last}"]
        assert port.threaded


async def test_ttls_count_down_in_a_thread():
    now = [100.0]
    authority = quiet(zones=zones("203.0.113.1"))
    upstream = beside(held("udp"))
    host, at = upstream.getsockname()
    above = UdpPort(upstream, authority)
    responder = quiet(lambda: now[0], forward=[f"{host}:{at}"])
    async with threaded(responder) as (_, asker):
        for now[0], left in (100.2, 30), (101.2, 29), (129.5, 1), (130.1, 30):
            assert (await asker.ask()).rr[0].ttl == left
    above.close()
    await until(lambda: not above.threaded)


async def test_the_loop_reads_again_where_most_is_not_finished():
    responder = quiet(zones=zones("203.0.113.1"))
    async with threaded(responder) as (port, asker):
        while port.threaded:
            answers = await asker.ask_all([f"x{port.threaded}{i}.{ZONE}" for i in range(100)], "TXT")
            assert {one.header.rcode for one in answers} == {dnslib.RCODE.NXDOMAIN}
        for _ in range(2):  # what was counted already is mostly unfinished
            await asker.ask_often()
        assert port.threaded, "and the thread once more"


async def test_the_loop_reads_again_when_nobody_asks():
    responder = quiet(zones=zones("203.0.113.1"))
    async with threaded(responder, patience=0.2) as (port, asker):
        await until(lambda: not port.threaded)
        assert addresses(await asker.ask()) == ["203.0.113.1"]
        await asker.ask_often()
        assert port.threaded


async def test_answers_that_are_told_of_are_the_loops():
    responder = quiet(zones=zones("203.0.113.1"), events_per_second=1000)
    async with threaded(responder) as (port, asker):
        responder._emit.wanted = True
        assert addresses(await asker.ask()) == ["203.0.113.1"]
        await until(lambda: not port.threaded)
        told = len(responder._emit)
        await asker.ask_often()
        assert not port.threaded
        assert len(responder._emit) > told


async def test_a_stopped_port_takes_no_more():
    responder = quiet(zones=zones("203.0.113.1"))
    async with threaded(responder) as (port, asker):
        port.stop()
        await until(lambda: not port.threaded)
        asker.sock.send(b"whatever comes now")
        for _ in range(3):  # turns of the loop, which would read it in the next one
            await asyncio.sleep(0)
        assert port._sock.recv(100) == b"whatever comes now"


async def test_a_closed_port_leaves_its_address_at_once(monkeypatch):
    monkeypatch.setattr(udpport, "_LOOK", 3600.0)  # so long would a thread not look about by itself
    async with threaded(quiet(zones=zones("203.0.113.1"))) as (port, _):
        port.close()
        await until(lambda: port._sock.fileno() == -1)


async def test_what_the_loop_has_no_time_for_waits_in_the_kernel():
    responder = quiet(zones=zones("203.0.113.1"))
    async with threaded(responder) as (port, asker):
        finished = bytes(dnslib.DNSRecord.question(f"n0.{ZONE}").pack())
        rounds, most = 300, udpport._MOST_HANDED_OVER + datagrams._DATAGRAMS
        before = responder.status()["queries"]
        for i in range(rounds):
            asker.sock.send(bytes(dnslib.DNSRecord.question(f"x{i}.{ZONE}").pack()))
            for _ in range(udpport._WEIGHT):
                asker.sock.send(finished)
        hold_up_until(lambda: port._handed_over >= udpport._MOST_HANDED_OVER)
        assert udpport._MOST_HANDED_OVER <= port._handed_over <= most < rounds
        assert port._taken == 0
        await until(lambda: responder.status()["queries"] == before + rounds * (1 + udpport._WEIGHT))


@pytest.mark.parametrize("restricted", [False, True])
async def test_a_crowd_gets_what_is_so_now(restricted):
    """Those that are read together follow a change, as one that is read alone does; also what becomes of views."""

    def told(address: str, clients: list[str] | None) -> DnsSettings:
        given = [each | {"clients": clients} for each in zones(address)]
        config = {"listen": [], "events_per_second": 0, "zones": given}
        return DnsSettings().changed(from_json(DnsConfig, config))

    async def ask(read) -> set[tuple[str, ...]]:
        for _ in range(8):
            asker.sendto(query, sock.getsockname())
        for _ in range(8):  # first those that are new, then those that are finished
            read()
        return {tuple(addresses(dnslib.DNSRecord.parse(asker.recv(4096)))) for _ in range(8)}

    responder = quiet()
    query = bytes(dnslib.DNSRecord.question(f"n0.{ZONE}").pack())
    sock, asker = beside(held("udp")), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock, asker:
        asker.settimeout(LONG)
        made = datagrams.DatagramAnswers(sock, responder, responder.note)

        def work(packet: bytes, host) -> bytes | None:
            return responder.answer(packet, host, False, lambda _: None)

        for last in range(1, 5):
            responder.configure(told(f"203.0.113.{last}", ["127.0.0.0/8"] if restricted else None))
            assert await ask(lambda: made.answer_one(work)) == {(f"203.0.113.{last}",)}
            responder.configure(told(f"203.0.113.{last + 100}", ["127.0.0.0/8"] if restricted else None))
            assert await ask(lambda: made.answer_others(work)) == {(f"203.0.113.{last + 100}",)}
        responder.configure(told("203.0.113.1", ["192.0.2.0/24"]))
        assert await ask(lambda: made.answer_others(work)) == {()}


async def test_coredns_gives_as_much_as_a_client_takes():
    """Also where those that are read together have no place for it."""
    entries = [[f"10.0.{i // 250}.{i % 250 + 1}", ["many.test."]] for i in range(300)]
    responder = quiet(blocks=[{"zones": ["."], "hosts": {"zones": ["."], "entries": entries}}])
    query = dnslib.DNSRecord.question("many.test.")
    query.add_ar(dnslib.EDNS0(udp_len=65535))
    sock, asker = beside(held("udp")), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock, asker:
        asker.settimeout(LONG)
        made = datagrams.DatagramAnswers(sock, responder, responder.note)
        for each in range(3):
            for ident in range(3):
                query.header.id = 10 * each + ident
                asker.sendto(bytes(query.pack()), sock.getsockname())
            made.answer_others(lambda packet, host: responder.answer(packet, host, False, lambda _: None))
            for ident in range(3):
                answer = dnslib.DNSRecord.parse(asker.recv(65535))
                assert answer.header.id == 10 * each + ident
                assert len(answer.rr) == 300 and not answer.header.tc
                assert answer.ar[0].edns_len == 65535


async def test_an_answer_is_counted_that_two_give_at_once():
    responder = quiet(zones=zones("203.0.113.1"))
    query = bytes(dnslib.DNSRecord.question(f"n0.{ZONE}").pack())
    host = "127.0.0.1", 1
    responder.answer(query, host, False, lambda _: None)
    hot = responder.hot.datagrams("127.0.0.1", False)[query[2:]]
    for given in range(1, 3):
        assert hot.take(0.0)  # by a thread that isn't on to noting it
        responder.answer(query, host, False, lambda _: None)
        assert responder.status()["queries"] == 1 + 2 * given
        assert not hot.noted


async def test_both_families_at_once_and_clients_without_end():
    responder = quiet(zones=zones("203.0.113.1", 20))
    sixth = beside(held("udp", "::1"))
    to = sixth.getsockname()[:2]
    other = UdpPort(sixth, responder, within=LONG, patience=LONG)
    async with threaded(responder) as (port, asker):
        with asking(to) as second:
            await second.ask_often()
            assert other.threaded and port.threaded
            names = [f"n{i % 20}.{ZONE}" for i in range(200)]
            for _ in range(10):
                both = await asyncio.gather(asker.ask_all(names), second.ask_all(names))
                assert {tuple(addresses(one)) for each in both for one in each} == {("203.0.113.1",)}
            assert responder.status()["queries"] == 2 * (OFTEN + 2000)
        other.close()
        await until(lambda: not other.threaded)


async def test_what_goes_wrong_in_a_thread_is_the_loops_to_judge():
    caught: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: caught.append(context["exception"]))
    now: list[float | None] = [100.0]
    responder = quiet(lambda: now[0], zones=zones("203.0.113.1"))
    async with threaded(responder) as (port, asker):
        now[0] = None
        asker.sock.send(bytes(dnslib.DNSRecord.question(f"n0.{ZONE}").pack()))
        await until(lambda: caught)
        assert isinstance(caught[0], TypeError)
        assert not port.threaded
        now[0] = 100.0
        assert addresses(await asker.ask()) == ["203.0.113.1"]

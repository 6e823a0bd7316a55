"""The running DNS server on loopback sockets, asked by `dig`, by dnslib and by noise."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time

import dnslib
import pytest
from loopback import beside, held
from patience import LONG, soon
from server_records import Told

from emulab.errors import UserError
from emulab.servers.dns import client, names, rdata
from emulab.servers.dns.cache import CacheKey
from emulab.servers.dns.server import create

RECORDS = [
    ["shop.example.com.", "A", "203.0.113.10", 30],
    ["pool.example.com.", "A", "203.0.113.1", 30],
    ["pool.example.com.", "A", "203.0.113.2", 30],
    ["pool.example.com.", "A", "203.0.113.3", 30],
    *[["many.example.com.", "A", f"203.0.113.{i}", 30] for i in range(1, 101)],
    ["_http._tcp.example.com.", "SRV", "0 100 80 shop.example.com.", 30],
    ["text.example.com.", "TXT", "v=spf1 -all", 30],
]
REVERSE = [["10.113.0.203.in-addr.arpa.", "PTR", "shop.example.com.", 30]]
ZONES = [{"origin": "example.com.", "records": RECORDS}, {"origin": "in-addr.arpa.", "records": REVERSE}]
UDP, TCP = "udp/127.0.0.1/53", "tcp/127.0.0.1/53"


def sockets() -> dict[str, socket.socket]:
    """A UDP and a TCP socket on one free port of loopback, which refuses when they are closed."""
    while True:
        udp = held("udp")
        try:
            tcp = held("tcp", port=udp.getsockname()[1])
        except OSError:
            continue
        opened = {UDP: beside(udp), TCP: beside(tcp)}
        for sock in opened.values():
            sock.setblocking(False)
        opened[TCP].listen()
        return opened


class Running:
    """A server, where it listens, and what it told."""

    def __init__(self) -> None:
        self.events = Told()
        self.server = create(self.events)

    async def configure(self, **config) -> None:
        given_ = {} if hasattr(self, "port") else sockets()
        if given_:
            self.port = given_[UDP].getsockname()[1]
        patient = {"timeout": LONG}  # a machine that halts us loses no answer
        await self.server.configure({"listen": [UDP, TCP], "upstream": patient, **config}, given_)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def ask(self, name: str, rtype: str = "A") -> list[str]:
        key = CacheKey(names.from_text(name), rdata.type_number(rtype), do=False)
        response = await client.ask_server(("127.0.0.1", self.port), key, LONG)
        return [record.data.toZone() for record in response.answer]

    async def dig(self, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "dig", "@127.0.0.1", "-p", str(self.port), "+tries=1", "+time=20", *arguments,
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, _ = await process.communicate()
        assert process.returncode == 0, out
        return out.decode()


@contextlib.asynccontextmanager
async def running(**config):
    server = Running()
    await server.configure(**config)
    try:
        yield server
    finally:
        await server.server.close()


async def test_dig_reads_all_types():
    async with running(zones=ZONES) as server:
        assert (await server.dig("+short", "shop.example.com")).split() == ["203.0.113.10"]
        assert (await server.dig("+short", "-x", "203.0.113.10")).split() == ["shop.example.com."]
        assert (await server.dig("+short", "text.example.com", "TXT")).strip() == '"v=spf1 -all"'
        srv = await server.dig("_http._tcp.example.com", "SRV")
        assert "0 100 80 shop.example.com." in srv and "ADDITIONAL: 2" in srv
        assert (await server.dig("+tcp", "+short", "shop.example.com")).split() == ["203.0.113.10"]
        plain = await server.dig("+norec", "sHop.Example.com")
        assert "flags: qr aa;" in plain and "sHop.Example.com." in plain and "WARNING" not in plain
        assert "status: NXDOMAIN" in await server.dig("nothing.example.com")
        nodata = await server.dig("shop.example.com", "AAAA")
        assert "status: NOERROR" in nodata and "SOA" in nodata and "ANSWER: 0" in nodata
        assert "status: REFUSED" in await server.dig("www.example.org")
        assert "status: BADVERS" in await server.dig("+edns=1", "+noednsneg", "shop.example.com")


async def test_dig_sees_truncation_and_comes_again_over_tcp():
    async with running(zones=ZONES) as server:
        cut = await server.dig("+ignore", "+noedns", "many.example.com")
        assert "flags: qr aa tc rd;" in cut and "ANSWER: 29" in cut
        wider = await server.dig("+ignore", "+bufsize=1232", "many.example.com")
        assert "tc" in wider.split("flags:")[1].split(";")[0] and "ANSWER: 74" in wider
        whole = await server.dig("+short", "many.example.com")
        assert len(whole.split()) == 100
        assert len(await server.ask("many.example.com")) == 100


async def test_kept_answers_are_kept_apart_by_transport():
    records = [["some.example.com.", "A", f"203.0.113.{i}", 30] for i in range(1, 61)]
    packet = dnslib.DNSRecord.question("some.example.com.")
    async with running(zones=[{"origin": "example.com.", "records": records}]) as server:
        for _ in range(61):
            for tcp, count in ((False, 29), (True, 60)):
                reply = await asyncio.to_thread(packet.send, "127.0.0.1", server.port, tcp=tcp)
                assert len(dnslib.DNSRecord.parse(reply).rr) == count


async def test_rotation_goes_on_through_kept_answers():
    async with running(zones=ZONES) as server:
        firsts = [(await server.ask("pool.example.com"))[0] for _ in range(9)]
        assert firsts == ["203.0.113.1", "203.0.113.2", "203.0.113.3"] * 3
        assert server.server.status()["prepared"] == 1


async def test_answer_has_id_case_and_rd_of_its_question():
    async with running(zones=ZONES) as server:
        for name in ("shop.example.com.", "SHOP.example.com.", "shop.example.com."):
            for recurse in (True, False, True):
                query = dnslib.DNSRecord.question(name)
                query.header.rd = recurse
                answer = dnslib.DNSRecord.parse(await asyncio.to_thread(query.send, "127.0.0.1", server.port))
                assert answer.header.id == query.header.id and answer.header.rd == recurse
                assert str(answer.q.qname) == str(answer.rr[0].rname) == name
        assert server.server.status()["prepared"] == 2  # odd case, which hardly comes twice, isn't kept


async def test_reconfiguration_holds_from_the_next_query_on():
    async with running(zones=ZONES) as server:
        assert await server.ask("shop.example.com") == ["203.0.113.10"]
        assert await server.ask("shop.example.com") == ["203.0.113.10"]
        await server.configure(
            zones=[{"origin": "example.com.", "records": [["shop.example.com.", "A", "203.0.113.99", 5]]}]
        )
        assert await server.ask("shop.example.com") == ["203.0.113.99"]
        with pytest.raises(UserError):
            await server.configure(
                zones=[{"origin": "example.com.", "records": [["shop.example.com.", "A", "x", 5]]}]
            )
        assert await server.ask("shop.example.com") == ["203.0.113.99"]


async def test_records_changed_in_place_are_noticed():
    records = [["shop.example.com.", "A", "203.0.113.10", 30]]
    zones = [{"origin": "example.com.", "records": records}]
    async with running(zones=zones) as server:
        records[0][2] = "203.0.113.11"
        await server.configure(zones=zones)
        assert await server.ask("shop.example.com") == ["203.0.113.11"]


async def test_sockets_come_and_go():
    async with running(zones=ZONES) as server:
        with pytest.raises(UserError, match=r"udp/127\.0\.0\.2/53"):
            await server.server.configure({"listen": [UDP, TCP, "udp/127.0.0.2/53"]}, {})
        await server.server.configure({"listen": [UDP], "zones": ZONES}, {})
        assert await server.ask("shop.example.com") == ["203.0.113.10"]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
    with pytest.raises(OSError, match="refused"):
        await server.ask("shop.example.com")


async def test_split_view_is_kept_apart_by_client():
    zones = [
        *ZONES,
        {
            "origin": "example.com.",
            "clients": ["127.0.0.2/32"],
            "records": [["shop.example.com.", "A", "10.0.0.100", 5]],
        },
    ]
    query = dnslib.DNSRecord.question("shop.example.com.").pack()
    async with running(zones=zones) as server:
        loop, seen = asyncio.get_running_loop(), []
        for source in ("127.0.0.1", "127.0.0.2") * 2:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
                sock.bind((source, 0))
                sock.connect(("127.0.0.1", server.port))
                sock.send(query)
                seen.append(str(dnslib.DNSRecord.parse(await loop.sock_recv(sock, 512)).rr[0].rdata))
        assert seen == ["203.0.113.10", "10.0.0.100"] * 2


async def test_resolver_caches_and_reports():
    async with running(zones=ZONES) as dns, running(forward=[dns.address]) as resolver:
        begun = time.monotonic()
        assert await resolver.ask("shop.example.com") == ["203.0.113.10"]
        assert await resolver.ask("shop.example.com") == ["203.0.113.10"]
        age = int(time.monotonic() - begun)  # 0, unless the machine took seconds
        left = resolver.events[-1]["ttl"]
        assert 30 - age <= left <= 30
        assert dns.server.status()["queries"] == 1
        status = resolver.server.status()
        assert status["cache"] == {"hits": 1, "misses": 1, "stale": 0, "entries": 1}
        assert status["rcodes"] == {"NOERROR": 2} and status["upstream"] == {"exchanges": 1, "failures": 0}
        told = [
            (e["event"], e["question"], e.get("rcode"), e.get("cache"), e.get("ttl")) for e in resolver.events
        ]
        asked, forwarded = [
            (name, "shop.example.com. A", None, None, None) for name in ("dns-query", "dns-forward")
        ]
        assert told == [
            asked, forwarded, ("dns-forwarded", "shop.example.com. A", "NOERROR", None, 30),
            ("dns-answer", "shop.example.com. A", "NOERROR", "miss", 30),
            asked, ("dns-answer", "shop.example.com. A", "NOERROR", "hit", left),
        ]  # fmt: skip
        assert resolver.events[0]["client"].startswith("127.0.0.1:")
        flags = await resolver.dig("shop.example.com")
        assert "flags: qr rd ra;" in flags
        # a change of zones leaves what upstream said; other servers void it
        await resolver.configure(forward=[dns.address], zones=[{"origin": "a.", "records": []}])
        assert resolver.server.status()["cache"]["entries"] == 1
        await resolver.configure(forward=["127.0.0.1:9"])
        assert resolver.server.status()["cache"]["entries"] == 0


async def test_resolver_fetches_large_answers_over_tcp():
    async with running(zones=ZONES) as dns, running(forward=[dns.address]) as resolver:
        assert len(set(await resolver.ask("many.example.com"))) == 100
        assert "NXDOMAIN" in await resolver.dig("nothing.example.com")


async def test_resolver_goes_on_to_the_next_server():
    async with running(zones=ZONES) as dns:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            dead = f"127.0.0.1:{silent.getsockname()[1]}"
            async with running(
                forward=[dead, dns.address], upstream={"timeout": 0.3, "tries": 10}
            ) as resolver:
                assert await resolver.ask("shop.example.com") == ["203.0.113.10"]
            async with running(forward=[dead], upstream={"timeout": 0.01}) as resolver:
                assert "SERVFAIL" in await resolver.dig("shop.example.com")
                assert resolver.server.status()["upstream"] == {"exchanges": 2, "failures": 2}


async def test_a_server_that_forwards_to_itself_gives_up():
    async with running() as server:
        await server.configure(forward=[server.address], upstream={"timeout": 0.03, "tries": 2})
        assert "SERVFAIL" in await server.dig("shop.example.com")
        assert server.server.status()["upstream"]["exchanges"] == 2


async def test_silence_about_questions_beyond_the_budget():
    for _ in range(10):  # until the machine lets us ask all of them within the second
        async with running(zones=ZONES, events_per_second=2) as server:
            begun = asyncio.get_running_loop().time()
            for _ in range(4):
                await server.ask("shop.example.com")
            if asyncio.get_running_loop().time() - begun < 0.45:
                assert len(server.events) == 4 and server.server.status()["events_skipped"] == 2
                return
    raise AssertionError("four questions always took half a second")


def message(name: str) -> bytes:
    packed = dnslib.DNSRecord.question(name).pack()
    return struct.pack("!H", len(packed)) + packed


async def read(reader: asyncio.StreamReader) -> dnslib.DNSRecord:
    length = struct.unpack("!H", await reader.readexactly(2))[0]
    return dnslib.DNSRecord.parse(await reader.readexactly(length))


async def test_tcp_takes_queries_in_a_row_and_in_pieces():
    async with running(zones=ZONES) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        asked = ["shop.example.com.", "nothing.example.com.", "text.example.com."] * 60
        stream = b"".join(map(message, asked))
        for at in range(0, len(stream), 1000):
            writer.write(stream[at : at + 1000])
            await asyncio.sleep(0)
        assert [str((await read(reader)).q.qname) for _ in asked] == asked
        assert server.server.status()["connections"] == 1
        writer.close()


async def test_tcp_answers_a_client_that_said_all_it_had_to_say():
    async with running(zones=ZONES) as dns, running(forward=[dns.address]) as resolver:
        reader, writer = await asyncio.open_connection("127.0.0.1", resolver.port)
        writer.write(message("shop.example.com."))
        writer.write_eof()
        assert str((await read(reader)).rr[0].rdata) == "203.0.113.10"
        assert await reader.read() == b""
        writer.close()


async def test_silent_connections_and_other_protocols_are_closed():
    async with running(zones=ZONES, tcp_idle=0.02) as server:
        for said in (b"", b"\0", b"GET / HTTP/1.0\r\n\r\n", b"\0\x02no"):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(said)
            with contextlib.suppress(ConnectionResetError):
                assert await soon(reader.read()) == b""
            writer.close()
        assert server.server.status()["connections"] == 0


async def test_a_connection_has_one_query_worked_out_in_a_turn():
    """Else whoever asks much at once has everybody else wait for all of it."""
    async with running(zones=ZONES) as server:
        _, eager = await asyncio.open_connection("127.0.0.1", server.port)
        eager.write(b"".join(message(f"n{i}.example.com.") for i in range(1500)))
        while not server.server.status()["queries"]:
            await asyncio.sleep(0)
        assert await server.ask("shop.example.com.") == ["203.0.113.10"]
        assert server.server.status()["queries"] < 500
        eager.close()


async def test_a_connection_of_octets_without_end_is_closed():
    async with running(zones=ZONES, tcp_idle=0.2) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\xff\xff")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.ensure_future(drip())
        with contextlib.suppress(ConnectionResetError):
            assert await soon(reader.read()) == b""
        dripping.cancel()
        writer.close()


async def test_a_client_has_so_many_connections_and_the_most_silent_one_makes_room():
    async with running(zones=ZONES, tcp_idle=LONG) as server:
        opened = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(100)]
        for reader, writer in opened[:1] + opened[2:]:
            writer.write(message("shop.example.com."))
            await read(reader)
        other = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
        other[1].write(message("shop.example.com."))
        await read(other[0])
        assert server.server.status()["connections"] == 101  # others' places are their own
        opened.append(await asyncio.open_connection("127.0.0.1", server.port))
        assert await soon(opened[1][0].read()) == b""  # the one that never said anything
        for reader, writer in opened[:1] + opened[2:]:
            writer.write(message("shop.example.com."))
            assert (await read(reader)).rr
        for _, writer in (*opened, other):
            writer.close()


async def test_close_waits_for_queries_under_way():
    async with running(zones=ZONES) as dns:
        resolver = Running()
        await resolver.configure(forward=[dns.address])
        asking = asyncio.ensure_future(resolver.ask("shop.example.com"))
        while not resolver.server.status()["waiting"]:
            await asyncio.sleep(0)
        await resolver.server.close(grace=LONG)
        assert await asking == ["203.0.113.10"]


async def test_a_lame_duck_answers_until_its_time_is_over() -> None:
    """As plugin/health of CoreDNS has it; without a grace period there is no time for that."""
    server = Running()
    await server.configure(zones=ZONES, lameduck=60.0)
    closing = asyncio.create_task(server.server.close(LONG))
    await asyncio.sleep(0.05)
    assert await server.ask("shop.example.com.") == ["203.0.113.10"] and not closing.done()
    closing.cancel()
    await server.server.close()
    short = Running()
    await short.configure(zones=ZONES, lameduck=0.1)
    since = time.monotonic()
    await short.server.close(LONG)
    assert time.monotonic() - since >= 0.098  # a loop's clock counts milliseconds


async def test_a_page_may_become_another_one() -> None:
    """As a changed Corefile may have it."""
    server = create(Told())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        key, port = f"tcp/127.0.0.1/{address[1]}", str(address[1])

        async def status(path: str) -> bytes:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            return answer.split()[1]

        sockets_ = {key: listener.dup()}
        for one, other in (("health", "ready"), ("ready", "health")):
            await server.configure({"listen": [key], "pages": {port: one}}, sockets_)
            assert (await status(f"/{one}"), await status(f"/{other}")) == (b"200", b"404")
            sockets_ = {}
    await server.close()

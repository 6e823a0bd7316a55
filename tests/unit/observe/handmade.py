"""Frames made by hand, and worlds in which they were seen."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from emulab.observe.events import Frame, Recording, Sending, Tap

START = 1_767_225_600_000_000_000
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def ethernet(payload: bytes, kind: int = 0x0800) -> bytes:
    return bytes.fromhex("020000000001020000000002") + struct.pack("!H", kind) + payload


def ipv4(
    source: str,
    destination: str,
    protocol: int,
    payload: bytes,
    *,
    ttl: int = 64,
    number: int = 7,
    fragment: int = 0x4000,
    options: bytes = b"",
    length: int | None = None,
) -> bytes:
    size = 20 + len(options)
    total = size + len(payload) if length is None else length
    header = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, total, number, fragment, ttl, protocol, 0)
    return header + socket.inet_aton(source) + socket.inet_aton(destination) + options + payload


def ipv6(source: str, destination: str, protocol: int, payload: bytes, *, ttl: int = 64) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, ttl)
    addresses = (socket.inet_pton(socket.AF_INET6, a) for a in (source, destination))
    return header + b"".join(addresses) + payload


def tcp(sport: int, dport: int, seq: int, flags: int, payload: bytes = b"", ack: int = 0) -> bytes:
    return struct.pack("!HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 64240, 0, 0) + payload


def udp(sport: int, dport: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def icmp(kind: int, code: int, about: bytes = b"", rest: int = 0) -> bytes:
    return struct.pack("!BBHHH", kind, code, 0, 0, rest) + about


def vxlan(inner: bytes, source: str, destination: str, vni: int = 1) -> bytes:
    body = udp(50000, 8472, struct.pack("!II", 0x08 << 24, vni << 8) + inner)
    if ":" in source:
        return ethernet(ipv6(source, destination, 17, body), 0x86DD)
    return ethernet(ipv4(source, destination, 17, body, fragment=0))


def arp(sender: str, target: str, is_reply: bool = False) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2 if is_reply else 1) + bytes(6) + socket.inet_aton(sender)
    return ethernet(body + bytes(6) + socket.inet_aton(target), 0x0806)


def ndp(sender: str, target: str, is_reply: bool = False) -> bytes:
    """Who has `target`, and with `is_reply` that `sender` has itself (RFC 4861, sections 4.3, 4.4)."""
    about = socket.inet_pton(socket.AF_INET6, sender if is_reply else target)
    body = struct.pack("!BBHI", 136 if is_reply else 135, 0, 0, 0) + about
    to = target if is_reply else "ff02::1:ff00:1"  # a group of whoever may have it
    return ethernet(ipv6(sender, to, 58, body, ttl=255), 0x86DD)


class Wire:
    """Frames as they are seen, a microsecond after each other unless told otherwise."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.clock = START

    def see(self, where: str, data: bytes, *, after: int = 1000) -> None:
        """`where` is `PLACE INTERFACE >` for what goes out, `<` for what comes in."""
        place, interface, direction = where.split()
        self.clock += after
        self.frames.append(Frame(self.clock, place, interface, direction == ">", len(data), data))

    def pass_by(self, wheres: Iterable[str], data: bytes) -> None:
        for where in wheres:
            self.see(where, data)


def sending(**given: Any) -> Sending:
    """The request of a client at 198.51.100.2:40000 to 10.0.0.11:80."""
    known: dict[str, Any] = {
        "place": "client",
        "protocol": "http",
        "target": "http://10.0.0.11/",
        "method": "GET",
        "path": "/",
        "host": "10.0.0.11",
        "address": "10.0.0.11",
        "port": 80,
        "local": ("198.51.100.2", 40000),
        "name_ports": (),
        "begun": START,
        "ended": START + 1_000_000_000,
        "status": 200,
    }
    return Sending(**{**known, **given})


TAPS = (
    Tap("client", "client", ("198.51.100.2",), {2: "eth0"}),
    Tap("router", "router", ("198.51.100.1", "10.0.0.1"), {2: "internet", 3: "vpc"}),
    Tap("node1", "node", ("10.0.0.11", "10.244.1.0"), {2: "eth0", 3: "flannel.1", 4: "veth1"}),
    Tap("pod", "pod", ("10.244.1.2",), {2: "eth0"}),
)


def recording(frames: Sequence[Frame], **given: Any) -> Recording:
    own = {k: given.pop(k) for k in list(given) if k in Sending.__dataclass_fields__}
    return Recording(sending(**own), given.pop("taps", TAPS), frames, **given)


def crowd(among: Recording, count: int) -> Recording:
    """The recording with that many frames of strangers in between: TCP, UDP, in the overlay, with known ports."""
    chance = random.Random(count)
    first, last = among.frames[0].time, among.frames[-1].time
    ports = [among.sending.port, (among.sending.local or ("", 0))[1], *among.sending.name_ports, 8080]
    found = list(among.frames)
    for _ in range(count // 8):
        ends = (
            f"10.9.{chance.randrange(256)}.{chance.randrange(1, 255)}",
            f"10.8.0.{chance.randrange(1, 255)}",
        )
        sport, dport = chance.choice([*ports, chance.randrange(1024, 65536)]), chance.choice([80, 443, 8080])
        if chance.random() < 0.8:
            body = tcp(
                sport,
                dport,
                chance.randrange(1 << 32),
                24,
                b"GET / HTTP/1.1\r\n\r\n",
                chance.randrange(1 << 32),
            )
            packet = ethernet(ipv4(*ends, 6, body, number=chance.randrange(1 << 16)))
        else:
            packet = ethernet(ipv4(*ends, 17, udp(sport, 53, chance.randbytes(30))))
        time = chance.randrange(first, last)
        for step in range(8):
            data = vxlan(packet, "10.0.0.11", "10.0.0.12") if step in (3, 4) else packet
            place = chance.choice(among.taps).place
            found.append(Frame(time + 1000 * step, place, "eth0", bool(step % 2), len(data), data))
    return replace(among, frames=sorted(found, key=lambda f: f.time))

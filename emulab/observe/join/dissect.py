"""What a packet carries, in a few words: DNS, HTTP/1, TLS and TCP's own flags. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emulab.model.addresses import socket_name
from emulab.observe.events import Flow
from emulab.observe.join.packets import ACK, FIN, RST, SYN, Packet
from emulab.observe.join.proxyheaders import split_header

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_METHOD = re.compile(rb"([A-Z]{3,10}) (\S{1,2000}) HTTP/1\.[01]\r\n")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})([^\r\n]{0,80})")
_ICMP = {
    (3, 0): "network unreachable",
    (3, 1): "host unreachable",
    (3, 3): "port unreachable",
    (3, 4): "fragmentation needed",
    (3, 9): "network prohibited",
    (3, 10): "host prohibited",
    (3, 13): "communication prohibited",
    (8, 0): "echo request",
    (0, 0): "echo reply",
    (11, 0): "time to live exceeded",
}
_TLS_RECORDS = {20: "change cipher spec", 21: "alert", 22: "handshake", 23: "application data"}
_TLS_HANDSHAKES = {1: "ClientHello", 2: "ServerHello", 11: "Certificate", 20: "Finished"}
_HELLO = 5 + 4  # where a hello begins, after the record's header and the handshake's
_TLS_VERSIONS = {0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}


def describe_packet(packet: Packet) -> str:
    """What a packet is, in a few words."""
    protocol = packet.flow.protocol
    if protocol == "icmp":
        return describe_icmp(packet)
    if protocol == "udp":
        if 53 in (packet.flow.source_port, packet.flow.destination_port):
            return describe_dns(packet.payload) or f"UDP, {packet.size} bytes"
        return f"UDP, {packet.size} bytes"
    carried = _carried(packet) if packet.size else ""
    flags = _flags(packet)
    if carried:
        return f"{carried}, FIN" if packet.flags & FIN else carried
    return f"TCP {flags}"


def _carried(packet: Packet) -> str:
    if 53 in (packet.flow.source_port, packet.flow.destination_port) and packet.size > 2:
        found = describe_dns(packet.payload[2:])
        if found:
            return f"{found} (TCP)"
    header, payload = split_header(packet.payload)
    carried = describe_http(payload) or describe_tls(payload)
    if header:
        return f"{carried}, {header}" if carried else header
    return carried or f"TCP, {packet.size} bytes"


def _flags(packet: Packet) -> str:
    if packet.flags & SYN:
        return "SYN-ACK" if packet.flags & ACK else "SYN"
    if packet.flags & RST:
        return "RST"
    if packet.flags & FIN:
        return "FIN"
    return "ACK"


def describe_icmp(packet: Packet) -> str:
    """An ICMP message, and what it is about."""
    kind = packet.icmp or (0, 0)
    text = f"ICMP {_ICMP.get(kind, f'type {kind[0]} code {kind[1]}')}"
    if packet.next_mtu:
        text += f", next MTU {packet.next_mtu}"
    if packet.about:
        text += f", about {end_name(packet.about.source, packet.about.source_port)} → " + end_name(
            packet.about.destination, packet.about.destination_port
        )
    return text


def end_name(address: str, port: int) -> str:
    """`ADDRESS:PORT`, or the address alone where there is no port."""
    return socket_name(address, port) if port else address


def ends(flow: Flow) -> str:
    """Both ends of a flow: `10.0.0.1:40000 → 10.96.0.7:80`."""
    return f"{end_name(flow.source, flow.source_port)} → {end_name(flow.destination, flow.destination_port)}"


def describe_http(payload: bytes) -> str:
    """`GET /path` or `200 OK`, if the payload begins an HTTP/1 message; of HTTP/2 the beginning alone."""
    if match := _METHOD.match(payload):
        return f"{match[1].decode()} {match[2].decode('latin-1')}"
    if match := _STATUS.match(payload):
        return f"HTTP {match[1].decode()}{match[2].decode('latin-1')}".rstrip()
    if payload.startswith(_PREFACE):
        return "HTTP/2 preface"
    return ""


def describe_tls(payload: bytes) -> str:
    """`TLS ClientHello, SNI name` or the kind of record, if the payload begins one (RFC 8446, section 5.1)."""
    if len(payload) < 6 or payload[0] not in _TLS_RECORDS or payload[1] != 3:
        return ""
    if payload[0] != 22:
        return f"TLS {_TLS_RECORDS[payload[0]]}"
    kind = _TLS_HANDSHAKES.get(payload[5], "handshake")
    try:
        if payload[5] == 1:
            name = server_name_asked(payload)
            return f"TLS {kind}, SNI {name}" if name else f"TLS {kind}, no SNI"
        if payload[5] == 2:
            return f"TLS {kind}, {_version(payload)}"
    except IndexError:
        pass
    return f"TLS {kind}"


def server_name_asked(payload: bytes) -> str:
    """The SNI of a ClientHello (RFC 6066, section 3), "" without one. Raises IndexError when cut short."""
    at = _HELLO + 2 + 32
    at += 1 + payload[at]
    at += 2 + _number(payload, at)
    at += 1 + payload[at]
    for kind, data in _extensions(payload, at):
        if kind == 0 and len(data) > 5:
            return data[5:].decode("latin-1")
    return ""


def _version(payload: bytes) -> str:
    number = _number(payload, _HELLO)
    at = _HELLO + 2 + 32
    at += 1 + payload[at] + 2 + 1
    for kind, data in _extensions(payload, at):
        if kind == 43:  # supported_versions: the one that was chosen
            number = int.from_bytes(data[:2], "big")
    return _TLS_VERSIONS.get(number, f"version {number:#x}")


def _extensions(payload: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The extensions that begin at `at`. Lazily, as those wanted mostly come first: IndexError where they are cut."""
    if at == _HELLO + int.from_bytes(payload[_HELLO - 3 : _HELLO], "big"):
        return  # before TLS 1.3 there may be none
    end = at + 2 + _number(payload, at)
    at += 2
    while at + 4 <= end:
        kind, size = _number(payload, at), _number(payload, at + 2)
        if at + 4 + size > len(payload):
            raise IndexError
        yield kind, payload[at + 4 : at + 4 + size]
        at += 4 + size


def _number(payload: bytes, at: int) -> int:
    """Two bytes. Raises IndexError when there are none."""
    return payload[at] << 8 | payload[at + 1]


def describe_dns(payload: bytes) -> str:
    """`DNS A? name` or `DNS A name: 203.0.113.10`, "" for what is no DNS message."""
    import dnslib

    try:
        message = dnslib.DNSRecord.parse(payload)
    except (dnslib.DNSError, ValueError, IndexError):
        return ""
    if not message.questions:
        return ""
    question = message.questions[0]
    name = str(question.qname).rstrip(".") or "."
    kind = dnslib.QTYPE.get(question.qtype, str(question.qtype))
    if not message.header.qr:
        return f"DNS {kind}? {name}"
    code = dnslib.RCODE.get(message.header.rcode, str(message.header.rcode))
    if code != "NOERROR":
        return f"DNS {kind} {name}: {code}"
    answers = ", ".join(f"{_shown(r.rdata)} (TTL {r.ttl})" for r in message.rr) or "no such record"
    return f"DNS {kind} {name}: {answers}"


def _shown(data: object) -> str:
    return str(data).rstrip(".")

"""An advertisement, of version 2 (RFC 3768, 5.1) and 3 (RFC 9568, 5.2). Pure."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Sequence

from emulab.dataclass import dataclass

PROTOCOL = 112
TTL = 255
GROUPS = {4: "224.0.0.18", 6: "ff02::12"}
CHECKSUM_AT = 6

_ADVERTISEMENT = 1
_HEAD = struct.Struct("!BBBBHH")
_NO_AUTHENTICATION = bytes(8)  # its data is there in version 2 all the same


@dataclass(frozen=True, slots=True)
class Advertisement:
    """What whoever has the addresses says. `interval` in seconds."""

    version: int
    identifier: int
    priority: int
    interval: float
    addresses: tuple[str, ...]


def encoded(one: Advertisement, source: str = "") -> bytes:
    """The octets. With a `source` of IPv4 there is a checksum; over IPv6 the kernel puts it in."""
    addresses = [ipaddress.ip_address(text) for text in one.addresses]
    if one.version == 2:
        interval = round(one.interval) & 0xFF  # and no authentication in the octet before
        rest = _NO_AUTHENTICATION
    else:
        interval, rest = round(one.interval * 100) & 0xFFF, b""
    kind = one.version << 4 | _ADVERTISEMENT
    head = _HEAD.pack(kind, one.identifier, one.priority, len(addresses), interval, 0)
    data = head + b"".join(address.packed for address in addresses) + rest
    if not source:
        return data
    checked = internet_checksum(_before(source, len(data)) + data if one.version == 3 else data)
    return data[:CHECKSUM_AT] + struct.pack("!H", checked) + data[CHECKSUM_AT + 2 :]


def decoded(data: bytes, family: int, source: str = "") -> Advertisement:
    """What octets say. Raises ValueError for what is no advertisement, or was spoilt on the way.

    With a `source` of IPv4 the checksum is looked at; in version 3 with or without the pseudo header, as RFC 5798 was
    read both ways and RFC 9568 lets who receives take both.
    """
    if len(data) < _HEAD.size:
        raise ValueError(f"{len(data)} octets are too few for an advertisement")
    kind, identifier, priority, count, interval, _ = _HEAD.unpack_from(data)
    version, size = kind >> 4, 4 if family == 4 else 16
    if version not in (2, 3) or kind & 0xF != _ADVERTISEMENT or (version == 2 and family == 6):
        raise ValueError(f"an advertisement of version {version}, type {kind & 0xF}")
    if not identifier or not count or len(data) < _HEAD.size + count * size:
        raise ValueError("an advertisement without an identifier, or with fewer addresses than it says")
    if source and not _sound(data, version, source):
        raise ValueError("its checksum is wrong")
    parts = [data[_HEAD.size + n * size : _HEAD.size + (n + 1) * size] for n in range(count)]
    seconds = float(interval & 0xFF) if version == 2 else (interval & 0xFFF) / 100
    addresses = tuple(str(ipaddress.ip_address(part)) for part in parts)
    return Advertisement(version, identifier, priority, seconds, addresses)


def _sound(data: bytes, version: int, source: str) -> bool:
    plain = internet_checksum(data) == 0
    return plain or (version == 3 and internet_checksum(_before(source, len(data)) + data) == 0)


def _before(source: str, size: int) -> bytes:
    """The pseudo header of IPv4 (RFC 768)."""
    ends: Sequence[str] = (source, GROUPS[4])
    packed = b"".join(ipaddress.ip_address(text).packed for text in ends)
    return packed + struct.pack("!BBH", 0, PROTOCOL, size)


def internet_checksum(data: bytes) -> int:
    """The Internet's one (RFC 1071)."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

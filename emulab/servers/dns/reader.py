"""Reads the parts of a message that somebody else has sent: names, numbers, the heads of records. Pure.

dnslib checks neither the size of names nor how long their pointers lead about; here both have bounds, and the
work of reading is in proportion to the message.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from dnslib.buffer import BufferError as BrokenBuffer
from dnslib.label import DNSBuffer, DNSLabel

from emulab.servers.dns.names import MAX_LABEL, MAX_NAME, Name

HEADER, ASKED, RECORD = Struct("!6H"), Struct("!2H"), Struct("!HHIH")


class RecordHead(NamedTuple):
    """What stands before a record's data, and where that ends."""

    owner: Name
    rtype: int
    rclass: int
    ttl: int
    end: int


class MessageReader(DNSBuffer):  # type: ignore[misc]
    """dnslib's reader, by which it reads record data, held to the sizes of RFC 1035."""

    def __init__(self, message: bytes) -> None:
        super().__init__(message)
        self.offset: int = 0
        self._message = bytes(message)
        self._work = 8 * len(message)

    def decode_name(self, last: int = -1) -> DNSLabel:
        """A name as dnslib wants it: its classes read record data with names in it by this method."""
        return DNSLabel(self.name())

    def name(self) -> Name:
        """The name that begins here. Raises BrokenBuffer and IndexError."""
        message, at, end = self._message, self.offset, 0
        labels: list[bytes] = []
        size, hops = 1, 0
        while length := message[at]:
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | message[at + 1]
                end = end or at + 2
                hops += 1
                if target >= at or hops > self._work:
                    raise BrokenBuffer("names lead about without end")
                at = target
                continue
            label = message[at + 1 : at + 1 + length]
            size += 1 + length
            if length > MAX_LABEL or len(label) < length or size > MAX_NAME + 2:
                raise BrokenBuffer("a label or a name is overlong")
            if not label.isascii():
                label.decode()  # what isn't UTF-8 could not be shown
            labels.append(label)
            at += 1 + length
        self.offset = end or at + 1
        self._work -= 8 + hops + len(labels)
        if self._work < 0:
            raise BrokenBuffer("names lead about without end")
        return tuple(labels)

    def fixed(self, form: Struct) -> tuple[int, ...]:
        """Numbers of fixed size. Raises struct.error."""
        values: tuple[int, ...] = form.unpack_from(self._message, self.offset)
        self.offset += form.size
        return values

    def head(self) -> RecordHead:
        """A record but for its data, at which it leaves the reader."""
        owner = self.name()
        rtype, rclass, ttl, length = self.fixed(RECORD)
        if length > self.remaining():
            raise BrokenBuffer("record data is cut short")
        return RecordHead(owner, rtype, rclass, ttl, self.offset + length)

"""Which heads of requests nginx takes: by default its buffers are one of 1k and four of 8k. Pure."""

from __future__ import annotations

from functools import cache

from emulab.servers.l7.config import Options
from emulab.servers.l7.messages.request import HeadParser, KnownHeads, RequestHead
from emulab.servers.l7.personalities.ingress_nginx import fields
from emulab.servers.wire.http1.head import END
from emulab.servers.wire.http1.reader import Dialect

HEADER_TOO_LARGE = 494
"""nginx's own number for a 400 with a reason of its own; only the page sees it."""

_PARSER = HeadParser(fields.request_actions())


def dialect_of(options: Options) -> Dialect[RequestHead]:
    """By the sizes of buffers, and which names of fields are taken."""
    parser = _PARSER
    if options.underscores or options.invalid_names:
        parser = HeadParser(fields.request_actions(options.underscores, options.invalid_names))
    return dialect(options.header_buffer, options.header_buffers, options.header_buffer_max, parser)


@cache
def dialect(first: int, number: int, size: int, parser: HeadParser = _PARSER) -> Dialect[RequestHead]:
    """By the size of the first buffer, and the number and the size of the large ones."""

    def excess(begun: bytes, _blank: int) -> int:
        """414 for a request line that doesn't fit, 494 for fields that don't, 0 where there is room.

        A line that doesn't fit into what is left of a buffer is moved to a new one, as a whole.
        """
        head = begun.removesuffix(END)
        if len(head) <= first:
            return 0
        room, buffers = first, 0
        for index, line in enumerate(head.split(b"\n")):
            needed = len(line.removesuffix(b"\r")) + 2
            if needed > size and needed > first:
                return HEADER_TOO_LARGE if index else 414
            if needed > room:
                room = size
                buffers += 1
            if buffers > number:
                return HEADER_TOO_LARGE
            room -= needed
        return 0

    room = max(first, size if number else 0)
    return Dialect(room, excess, first, parser.parse, bare=True, known=KnownHeads())


DIALECT = dialect(1024, 4, 8192)
"""The one of the defaults."""

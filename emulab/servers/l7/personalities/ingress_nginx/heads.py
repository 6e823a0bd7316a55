"""Which heads of requests nginx takes: its buffers are `client_header_buffer_size 1k` and four of 8k. Pure."""

from __future__ import annotations

from emulab.servers.l7.messages.request import HeadParser, RequestHead
from emulab.servers.l7.personalities.ingress_nginx import fields
from emulab.servers.wire.http1.head import END
from emulab.servers.wire.http1.reader import Dialect

LINE_MAX = 8192
FIRST_BUFFER, BUFFERS = 1024, 4
HEADER_TOO_LARGE = 494
"""nginx's own number for a 400 with a reason of its own; only the page sees it."""


def excess(begun: bytes, _blank: int) -> int:
    """414 for a request line above 8k, 494 for fields that don't fit, 0 where there is room.

    A line that doesn't fit into what is left of a buffer is moved to a new one, as a whole.
    """
    head = begun.removesuffix(END)
    if len(head) <= FIRST_BUFFER:
        return 0
    room, buffers = FIRST_BUFFER, 0
    for number, line in enumerate(head.split(b"\r\n")):
        size = len(line) + 2
        if size > LINE_MAX:
            return HEADER_TOO_LARGE if number else 414
        if size > room:
            room = LINE_MAX
            buffers += 1
        if buffers > BUFFERS:
            return HEADER_TOO_LARGE
        room -= size
    return 0


DIALECT: Dialect[RequestHead] = Dialect(LINE_MAX, excess, FIRST_BUFFER, HeadParser(fields.REQUEST).parse)

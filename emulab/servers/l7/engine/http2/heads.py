"""The head of a request of HTTP/2, read as one of HTTP/1.1, so that all that follows is the same for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulab.servers.l7.messages.request import RequestHead
from emulab.servers.wire.http1.framing import CHUNKED, UNFRAMED
from emulab.servers.wire.http1.head import BadMessage
from emulab.servers.wire.http2.fields import FieldList, request_text, size

if TYPE_CHECKING:
    from emulab.servers.l7.engine.surroundings import EngineSurroundings


def request_head(around: EngineSurroundings, fields: FieldList, whole: bool) -> RequestHead:
    """What a request says; `whole`: it has no body. Raises `BadMessage`."""
    text, trailers = request_text(fields)
    head = around.snapshot.dialect.parse(text)
    head.version, head.trailers, head.size = "2.0", trailers, size(fields)
    head.expect = False  # nginx doesn't answer it in HTTP/2
    if not whole and head.framing == UNFRAMED:
        head.framing = CHUNKED
    elif whole and head.framing > 0:
        raise BadMessage(400, "the request ends before its body")
    return head


def refused_head(fields: FieldList) -> RequestHead:
    """What is known of a request that isn't one."""
    refused = RequestHead()
    refused.version = "2.0"
    if (b":method", b"HEAD") in fields:
        refused.method = b"HEAD"
    return refused

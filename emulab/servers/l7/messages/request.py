"""What is in the head of a request, and what of it is passed on. Pure.

`wire.http1` reads it; how large it may be is the personality's matter.

Errors are `BadMessage` with nginx's status: 400 for a malformed head, 505 for another version than HTTP/1, 501 for a
transfer coding other than chunked. Content-Length and Transfer-Encoding together, either of them twice, or a list in
one of them is refused (RFC 9112, section 6.1).
"""

from __future__ import annotations

import re

from emulab.servers.l7.messages import headers
from emulab.servers.l7.messages.headers import DROP, HOST, SINGLE, ActionTable, without_listed
from emulab.servers.l7.messages.targets import normalise_host
from emulab.servers.wire.http1.framing import UNFRAMED, request_framing
from emulab.servers.wire.http1.head import (
    BadMessage,
    Memo,
    keeps_alive,
    parse_field,
    parse_request_line,
    tokens,
)

_METHOD = re.compile(rb"[A-Z_-]+")
_ABSOLUTE = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.\-]*://(?P<authority>([A-Za-z0-9.\-]+|\[[A-Za-z0-9:\-._~!$&'()*+,;=]*\])(?::[0-9]*)?)"
    rb"(?P<rest>[/?].*)?",
    re.DOTALL,
)


HEAD_FIELDS = (
    "connection", "counted", "expect", "forwarded_for", "forwarded_host", "forwarded_port", "forwarded_proto",
    "framing", "host", "keep_alive", "line", "lines", "method", "old", "real_ip", "request_id", "round", "route",
    "shared", "size", "table", "target", "trailers", "upgrade", "version", "written",
)  # fmt: skip


class RequestHead:
    """One request's head. It may be several requests' that say the same (`KnownHeads`): who changes one takes `own`."""

    __slots__ = HEAD_FIELDS

    def __init__(self) -> None:
        # What every request asks for comes first and lies together: of ten thousand heads none is near the processor.
        self.method: bytes = b""
        self.host: bytes | None = None
        self.old = False  # HTTP/1.0
        self.keep_alive = True  # whether the client wants the connection to stay (RFC 9112, section 9.3)
        self.expect = False
        self.shared = False  # whether other requests may have it, too
        self.trailers = False  # whether the client takes fields after the body (TE)
        # Which of its routes takes it, by the number of which table; where such requests are counted, since which round
        # of counting. What is found by this head needs no dictionary, which would have to be fetched, too.
        self.table = self.route = 0
        self.round = self.counted = 0
        # For what host and what lines it was last written for upstreams, and how (`personalities.Personality.request`).
        self.written: tuple[bytes, bytes, bytes, bytes] | None = None
        self.framing = UNFRAMED
        self.request_id = self.upgrade = b""
        self.size = 0  # bytes, with the empty line at the end
        self.connection: list[bytes] | None = None
        self.target: bytes = b""
        self.version = "1.1"  # of HTTP, unless it is old
        self.line = b""  # the first one as it came, where it isn't right
        self.lines: list[bytes] = []  # fields that are passed on, each ending in CRLF
        self.real_ip = self.forwarded_for = self.forwarded_host = b""
        self.forwarded_port = self.forwarded_proto = b""

    def own(self) -> RequestHead:
        """One that is this request's alone, and may be changed."""
        if not self.shared:
            return self
        own = RequestHead()
        for name in HEAD_FIELDS:
            setattr(own, name, getattr(self, name))
        own.shared, own.written, own.table, own.round = False, None, 0, 0
        return own

    def field(self, name: bytes) -> str:
        """A field that is passed on, by its name in lower case; "" where there is none. One that is there several times
        is joined, as nginx' variables have it (since 1.23)."""
        start, size = name + b":", len(name) + 1
        found = [line[size:].strip() for line in self.lines if line[:size].lower() == start]
        return (b"; " if name == b"cookie" else b", ").join(found).decode("latin-1")

    @property
    def upgrades(self) -> bool:
        """Whether the client asks to change the protocol (RFC 9110, section 7.8)."""
        return bool(self.upgrade) and b"upgrade" in (self.connection or ()) and not self.old


def _parse_start(line: bytes) -> tuple[bytes, bytes, bool, bytes | None]:
    """Method, target (as a path), whether it is HTTP/1.0, and the authority of an absolute target."""
    method, target, old = parse_request_line(line)
    if _METHOD.fullmatch(method) is None:
        raise BadMessage(400, "the method is none for nginx")
    if target.startswith(b"/") or method == b"CONNECT":  # which is answered with 405, whatever its target
        return method, target, old, None
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise BadMessage(400, "the request's target is malformed")
    path = match["rest"] or b""
    if not path.startswith(b"/"):
        # nginx writes a target without a path anew, and leaves its fragment out.
        path = b"/" + path.partition(b"#")[0]
    return method, path, old, match["authority"]


_LINE_MAX = 8192
"""Bytes of a first line that isn't right that are kept for the log, as many as nginx' largest buffer has."""


def begun_head(data: bytes) -> RequestHead:
    """What is known of a request that is refused by what has come of its head: the first line, where that is right."""
    head = RequestHead()
    line, ends, _ = data.partition(b"\r\n")
    head.line = line.partition(b"\n")[0][:_LINE_MAX]
    if line.startswith(b"HEAD "):
        head.method = b"HEAD"  # whose answer has no body
    try:
        if ends:
            head.method, head.target, head.old, _ = _parse_start(line)
            head.line = b""
    except BadMessage:
        return head
    head.size = data.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in data else 0
    return head


HEADS_MAX, HEAD_MAX, BYTES_MAX = 16384, 1024, 4 << 20
"""Heads of requests that are remembered, bytes that one of them may have, and all of them together."""


class KnownHeads(dict[bytes, RequestHead]):
    """Whole heads as they came, and what is in them, as clients that ask much say the same again and again.

    They come from strangers, so they are bounded; then all are forgotten, which is simple and rare.
    """

    def __init__(self) -> None:
        super().__init__()
        self._size = 0  # bytes of all of them

    def keep(self, data: bytes, head: RequestHead) -> None:
        """`head` is what is in `data`. One with a body, or whose client waits for a word, changes on its way."""
        if len(data) > HEAD_MAX or head.framing != UNFRAMED or head.expect:
            return
        self._size += len(data)
        if len(self) >= HEADS_MAX or self._size > BYTES_MAX:
            self.clear()
            self._size = len(data)
        head.shared = True
        self[data] = head


class HeadParser:
    """Parses heads by the table of one personality."""

    __slots__ = ("_lines", "_starts")

    def __init__(self, actions: ActionTable) -> None:
        def parse_line(line: bytes) -> tuple[int, bytes, bytes, bytes]:
            """What to do with a field line, the field's name, its value, and the line that is passed on."""
            name, value = parse_field(line)
            return actions[name], name.lower(), value, b"%b: %b\r\n" % (name, value)

        self._starts, self._lines = Memo(_parse_start), Memo(parse_line)

    def parse(self, data: bytes) -> RequestHead:
        """What is in a head, which is given without the empty line at its end. Raises `BadMessage`."""
        head, known = RequestHead(), self._lines
        head.size = len(data) + 4
        start, *fields = data.split(b"\r\n")
        head.method, head.target, head.old, authority = self._starts[start]
        lines = head.lines = []
        host: bytes | None = None
        single: dict[bytes, bytes] = {}
        for field in fields:
            action, name, value, line = known[field]
            if not action:  # PASS
                lines.append(line)
            elif action == HOST:
                if host is not None:
                    raise BadMessage(400, "two host fields")
                host = value
            elif action <= SINGLE:
                if name in single:
                    raise BadMessage(400, f"two {name.decode()} fields")
                single[name] = value
                if action == SINGLE:
                    lines.append(line)
            elif action != DROP:
                _take(head, action, value)
        head.host = host
        if host is None and not head.old:
            raise BadMessage(400, "no Host")
        if single:
            head.framing = request_framing(
                single.get(b"content-length"), single.get(b"transfer-encoding"), head.old
            )
            head.expect = not head.old and single.get(b"expect", b"").lower() == b"100-continue"
        if head.connection:
            head.lines = without_listed(lines, head.connection)
            head.keep_alive = keeps_alive(head.connection, head.old)
        else:
            head.keep_alive = not head.old
        # It outranks the Host field (RFC 9112, section 3.2.2), which must still be right.
        if authority is not None:
            if host is not None:
                normalise_host(host)
            head.host = authority
        return head


def _take(head: RequestHead, action: int, value: bytes) -> None:
    """Notes a field that may come several times."""
    if action == headers.CONNECTION:
        found = tokens(value)
        head.connection = head.connection + found if head.connection else found
    elif action == headers.UPGRADE:
        head.upgrade = value
    elif action == headers.REQUEST_ID:
        head.request_id = _joined(head.request_id, value)
    elif action == headers.FORWARDED_FOR:
        head.forwarded_for = _joined(head.forwarded_for, value)
    elif action == headers.FORWARDED_HOST:
        head.forwarded_host = _joined(head.forwarded_host, value)
    elif action == headers.FORWARDED_PORT:
        head.forwarded_port = _joined(head.forwarded_port, value)
    elif action == headers.FORWARDED_PROTO:
        head.forwarded_proto = _joined(head.forwarded_proto, value)
    elif action == headers.REAL_IP:
        head.real_ip = value


def _joined(before: bytes, value: bytes) -> bytes:
    return before + b", " + value if before else value

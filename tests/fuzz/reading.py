"""What a sequence of bytes contains, read strictly and all at once: what servers that read it in pieces are held to.

Written apart from the servers' own reader, and in another way, so that the two don't share a mistake.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random

from .oracle import Malformed

TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE = re.compile(rb"(" + TOKEN + rb") +([^\x00-\x20\x7f]+) +HTTP/1\.([0-9]{1,3}) *")
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*(.*)", re.DOTALL)
_CHUNK = re.compile(rb"0*([0-9A-Fa-f]{1,16})[ \t]*(;[^\x00-\x08\x0a-\x1f\x7f]*)?")
_STATUS = re.compile(rb"HTTP/1\.([0-9]{1,3}) +([1-9][0-9][0-9])([ .][^\x00\r\n]*)?")

Fields = dict[bytes, list[bytes]]


class Short(Exception):
    """The bytes end within a message."""


@dataclass
class Reading:
    """The messages in the bytes, in order; `waits`: they end within one; `rest`: what follows the last."""

    messages: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    waits: bool = False
    rest: bytes = b""


def fields_of(lines: list[bytes], blank: bytes = b" ") -> Fields:
    fields: Fields = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or min(name) < 0x21 or 0x7F in name or any(c in b"\r\n\0" for c in value):
            raise Malformed(f"field {line!r}")
        fields.setdefault(name.lower(), []).append(value.strip(blank))
    return fields


def framing(fields: Fields) -> int | None:
    """A length, -1 for chunks, None for nothing of either."""
    lengths, codings = fields.get(b"content-length", []), fields.get(b"transfer-encoding", [])
    if len(lengths) + len(codings) > 1:
        raise Malformed("framed twice")
    if codings:
        if codings[0].lower() != b"chunked":
            raise Malformed("coding")
        return -1
    if not lengths:
        return None
    if re.fullmatch(rb"0*[0-9]{1,18}", lengths[0]) is None:
        raise Malformed("length")
    return int(lengths[0].lstrip(b"0") or b"0")


def line_of(data: bytes, bare: bool = False) -> tuple[bytes, bytes]:
    line, end, rest = data.partition(b"\n" if bare else b"\r\n")
    if not end:
        raise Short
    return line.removesuffix(b"\r") if bare else line, rest


def body_of(data: bytes, framed: int, bare: bool = False) -> tuple[bytes, bytes]:
    """The body and what follows it."""
    if framed >= 0:
        if len(data) < framed:
            raise Short
        return data[:framed], data[framed:]
    body = b""
    while True:
        line, data = line_of(data, bare)
        match = _CHUNK.fullmatch(line)
        if match is None or (size := int(match[1], 16)) > 2**63 - 6:
            raise Malformed("chunk size")
        if not size:
            break
        after = b"\n" if bare and data[size : size + 1] == b"\n" else b"\r\n"
        if not data[size:].startswith(after):
            if after.startswith(data[size:]):
                raise Short
            raise Malformed("chunk end")
        body, data = body + data[:size], data[size + len(after) :]
    while (split := line_of(data, bare))[0]:
        if re.fullmatch(TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*", split[0]) is None:
            raise Malformed("trailer")
        data = split[1]
    return body, split[1]


def closes(fields: Fields, minor: int) -> bool:
    options = {
        word.strip(b" \t").lower() for value in fields.get(b"connection", []) for word in value.split(b",")
    }
    return b"close" in options or (minor == 0 and b"keep-alive" not in options)


def requests_in(data: bytes, blank: bytes = b" ", bare: bool = False) -> Reading:
    """The requests that a server may take out of the bytes, unless it refuses one and ends there.

    `blank` is what counts as nothing around a value: to nginx a space alone, to RFC 9110 (section 5.6.3) a tab, too.
    `bare`: an LF alone ends a line, too.
    """
    found = Reading()
    try:
        while data := data.lstrip(b"\r\n"):
            end = re.search(rb"\r?\n\r?\n" if bare else rb"\r\n\r\n", data)
            if end is None:
                raise Short
            head, data = data[: end.start()], data[end.end() :]
            start, *lines = re.split(rb"\r?\n" if bare else rb"\r\n", head)
            match = _LINE.fullmatch(start)
            if match is None:
                raise Malformed("request line")
            fields, minor, target = fields_of(lines, blank), int(match[3]), match[2]
            if (absolute := _ABSOLUTE.fullmatch(target)) and not target.startswith(b"/"):
                path = absolute[1] or b"/"
                target = path if path.startswith(b"/") else b"/" + path
            framed = framing(fields)
            if minor == 0 and framed == -1:
                raise Malformed("chunks in HTTP/1.0")
            body, data = body_of(data, framed or 0, bare)
            found.messages.append((match[1], target, body))
            if closes(fields, minor):
                break
    except Malformed:
        pass
    except Short:
        found.waits = True
    found.rest = data
    return found


def answer_in(data: bytes, to_head: bool, ended: bool) -> Reading:
    """The final answer in what a backend sent, with its status in place of a method. An LF alone ends a line, too."""
    found = Reading()
    try:
        while True:
            end = re.search(rb"\r?\n\r?\n", data)
            if end is None:
                raise Short
            head, data = data[: end.start()], data[end.end() :]
            start, *lines = re.split(rb"\r?\n", head)
            match = _STATUS.fullmatch(start)
            if match is None:
                raise Malformed("status line")
            fields, status = fields_of(lines), int(match[2])
            if status == 101:
                raise Malformed("nobody asked for another protocol")
            if status >= 200:
                break
        framed = framing(fields)
        if to_head or status in (204, 304):
            framed = 0
        if framed is None:
            if not ended:
                raise Short
            framed = len(data)
        body, found.rest = body_of(data, framed, bare=True)
        found.messages.append((match[2], b"", body))
    except Malformed:
        found.rest = b""
    except Short:
        found.waits = not ended
    return found


def damaged(data: bytes, random: Random) -> bytes:
    """With a few octets changed, taken away or put in."""
    for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
        at = random.randrange(len(data) + 1)
        put = random.choice(
            (
                b"",
                b"\r",
                b"\n",
                b"\r\n",
                b" ",
                b"\t",
                b"\0",
                b":",
                b",",
                b";",
                b"0",
                b"\xff",
                data[at : at + 9],
            )
        )
        data = data[:at] + put + data[at + random.choice((0, 1, 1, 2)) :]
    return data

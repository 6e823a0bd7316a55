"""Reading tar archives (POSIX.1-2017 pax, GNU) from whoever made them, once and forwards.

Python's `tarfile` keeps all members, reads headers of any size, and guesses where a header is wrong. Here one member is
read after the other, everything that is kept has a bound, and what is wrong or unknown ends the reading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from emulab.dataclass import dataclass, field
from emulab.kernel.layers.streams import CHUNK, ArchiveError, Readable

BLOCK = 512
_TEXTS = 1 << 20  # octets of an extended header, or of a long name
_RECORD = re.compile(rb"([0-9]{1,7}) ")
_XATTR = "SCHILY.xattr."
KINDS = {
    **dict.fromkeys(("0", "\0", "7"), "file"),
    "1": "hard link",
    "2": "symbolic link",
    "3": "character device",
    "4": "block device",
    "5": "folder",
    "6": "fifo",
}


class _Extended(NamedTuple):
    """What an extended header says of the member behind it."""

    fields: Mapping[str, str] = {}
    xattrs: Mapping[str, bytes] = {}


@dataclass(frozen=True, slots=True)
class Member:
    name: str
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int  # nanoseconds of Unix time
    target: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


class TarReader:
    """The members of an archive. The body of a member can be read until the next one is asked for."""

    def __init__(self, stream: Readable, skip: Callable[[int], int] | None = None) -> None:
        """`skip` goes on in the stream without reading, and says how far: less than asked at its end."""
        self._stream = stream
        self._skip = skip
        self._left = self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        text = _Extended()
        names: dict[str, str] = {}
        while (header := self._header()) is not None:
            kind, size = chr(header[156]), _number(header[124:136], "size")
            self._left, self._padding = size, -size % BLOCK
            if kind in "xgLK":
                if size > _TEXTS:
                    raise ArchiveError(f"it has an extended header of {size} octets")
                data = self.read_exactly(size)
                if kind == "x":
                    text = _pax(data)
                elif (
                    kind != "g"
                ):  # a header for all members that follow says nothing that matters (git's comment)
                    names["path" if kind == "L" else "linkpath"] = _text(data.partition(b"\0")[0])
                continue
            yield self._member(header, kind, size, {**names, **text.fields}, text.xattrs)
            text, names = _Extended(), {}

    def read(self, most: int, /) -> bytes:
        """Some of the body of the member that was last given; nothing at its end."""
        data = self._stream.read(min(most, self._left)) if self._left else b""
        if self._left and not data:
            raise ArchiveError("it ends in the middle of a member: it was cut off")
        self._left -= len(data)
        return data

    def read_exactly(self, size: int) -> bytes:
        parts = []
        while size and (data := self.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _header(self) -> bytes | None:
        """The next header; None at the archive's end, whose padding is left to the caller."""
        self._left, self._padding = self._left + self._padding, 0
        if self._skip is not None and self._left:
            self._left -= self._skip(self._left)
        while self._left:
            self.read(CHUNK)
        block = b""
        while len(block) < BLOCK and (data := self._stream.read(BLOCK - len(block))):
            block += data
        if not block or not block.strip(b"\0"):
            return None
        if len(block) < BLOCK:
            raise ArchiveError("it ends in the middle of a header: it was cut off")
        try:
            said = int(block[148:156].partition(b"\0")[0].strip() or b"0", 8)
        except ValueError:
            said = -1
        if sum(block) - sum(block[148:156]) + 8 * 32 != said:
            raise ArchiveError("it isn't a tar archive, or is damaged: a header's checksum is wrong")
        return block

    def _member(
        self, header: bytes, kind: str, size: int, fields: Mapping[str, str], xattrs: Mapping[str, bytes]
    ) -> Member:
        name = fields.get("path") or _name(header)
        if kind == "S" or any(key.startswith("GNU.sparse.") for key in fields):
            raise ArchiveError(
                f"{name}: it is stored as a sparse file, which isn't read: write the layer without holes"
            )
        if kind not in KINDS:
            raise ArchiveError(f"{name}: there is no member of type {kind!r}")
        what = KINDS[kind]
        if what == "file" and name.endswith("/"):
            what = "folder"  # of before 1988
        if "size" in fields:
            size = _decimal(fields["size"], "size")
        if what not in ("file", "folder"):
            size = 0  # of a hard link some say its file's, and nothing follows
        self._left, self._padding = size, -size % BLOCK
        return Member(
            name=name,
            kind=what,
            mode=_number(header[100:108], "mode") & 0o7777,
            uid=_decimal(fields["uid"], "uid") if "uid" in fields else _number(header[108:116], "uid"),
            gid=_decimal(fields["gid"], "gid") if "gid" in fields else _number(header[116:124], "gid"),
            size=size,
            mtime=_mtime(fields["mtime"]) if "mtime" in fields else _number(header[136:148], "mtime") * 10**9,
            target=fields.get("linkpath") or _text(header[157:257].partition(b"\0")[0]),
            xattrs=xattrs,
        )


def _name(header: bytes) -> str:
    name = _text(header[:100].partition(b"\0")[0])
    if header[257:263] == b"ustar\0":  # GNU's has times where others have the beginning of the name
        prefix = _text(header[345:500].partition(b"\0")[0])
        return f"{prefix}/{name}" if prefix else name
    return name


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _number(data: bytes, what: str) -> int:
    """Octal digits, or GNU's binary number where those don't do. One that is negative is nobody's."""
    if data[0] == 0x80:
        return int.from_bytes(data[1:], "big")
    text = data.partition(b"\0")[0].strip()
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise ArchiveError(f"it is damaged: a header's {what} is no number") from None


def _decimal(text: str, what: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise ArchiveError(f"it is damaged: an extended header's {what} is no number")
    return int(text)


def _mtime(text: str) -> int:
    try:
        return int(float(text) * 10**9)
    except (ValueError, OverflowError):
        return 0


def _pax(data: bytes) -> _Extended:
    """Records `LENGTH KEY=VALUE\\n`."""
    fields: dict[str, str] = {}
    xattrs: dict[str, bytes] = {}
    while data:
        found = _RECORD.match(data)
        length = int(found[1]) if found else 0
        record = data[found.end() : length] if found else b""
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals or not record.endswith(b"\n"):
            raise ArchiveError("it is damaged: an extended header can't be read")
        name = _text(key)
        if name.startswith(_XATTR):
            xattrs[name.removeprefix(_XATTR)] = value
        elif b"\0" in value:
            raise ArchiveError(f"it is damaged: an extended header's {name} has a NUL")
        else:
            fields[name] = _text(value)
        data = data[length:]
    return _Extended(fields, xattrs)

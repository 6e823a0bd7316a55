"""Frames as a capture file, of a trace or of a look that goes on.

The form is pcapng (draft-ietf-opsawg-pcapng), as Wireshark and tshark read it, in one section. Each pair of place and
interface is an interface of the file, named `PLACE/INTERFACE`, so that `frame.interface_name == "node1/flannel.1"`
filters by it. Stamps are nanoseconds. What was decided at a hop is a comment on a packet that was seen there.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

from emulab.observe.events import Frame
from emulab.observe.join.packets import is_discovery
from emulab.observe.path import Hop, Path

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6  # types of blocks
LINKTYPE_ETHERNET = 1
SNAPLEN = 262_144  # libpcap's own default: nothing is cut by us; a tap may have kept the beginning only
NANOSECONDS = 9  # if_tsresol: a negative power of ten
INBOUND, OUTBOUND = 1, 2  # epb_flags, bits 0 and 1

COMMENT, SHB_USERAPPL, IF_NAME, IF_DESCRIPTION, IF_TSRESOL, EPB_FLAGS = 1, 4, 2, 3, 9, 2
ISB_OSDROP = 7  # packets that the system dropped
OPTION_ROOM = 0xFFFF

DECISIONS = frozenset({"dnat", "snat", "drop", "encapsulate", "proxy-accept", "proxy-connect"})


class ByteSink(Protocol):
    """What a capture is written to: a file, or standard output."""

    def write(self, data: bytes, /) -> Any: ...

    def flush(self) -> Any: ...


def write(
    file: BinaryIO,
    frames: Sequence[Frame],
    comments: Mapping[int, Sequence[str]] | None = None,
    wanted: Collection[int] | None = None,
) -> None:
    """Writes the frames in the order of their times, all or those `wanted`.

    `wanted` and the keys of `comments` are indexes into `frames`.
    """
    file.writelines(blocks(frames, comments or {}, wanted))


def own_frames(path: Path, frames: Sequence[Frame]) -> set[int]:
    """The frames of the traced request, as indexes, and ARP and NDP, which are nobody's and may be why it failed."""
    found = {number for hop in path.hops for number in hop.frames}
    return found | {number for number, frame in enumerate(frames) if is_discovery(frame.data)}


def blocks(
    frames: Sequence[Frame], comments: Mapping[int, Sequence[str]], wanted: Collection[int] | None = None
) -> Iterator[bytes]:
    """The file, block by block."""
    yield _section(b"emulab trace")
    order = sorted(range(len(frames)) if wanted is None else wanted, key=lambda i: (frames[i].time, i))
    numbers: dict[tuple[str, str], int] = {}
    for i in order:
        pair = (frames[i].place, frames[i].interface)
        if pair not in numbers:
            numbers[pair] = len(numbers)
            yield _interface(*pair)
    for i in order:
        frame = frames[i]
        yield _packet(frame, numbers[frame.place, frame.interface], comments.get(i, ()))


class CaptureStream:
    """A capture file that is written while frames come, in the order in which they are given."""

    def __init__(self, file: ByteSink) -> None:
        self._file = file
        self._numbers: dict[tuple[str, str], int] = {}
        file.write(_section(b"emulab capture"))

    def write(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            pair = frame.place, frame.interface
            if pair not in self._numbers:
                self._numbers[pair] = len(self._numbers)
                self._file.write(_interface(*pair))
            self._file.write(_packet(frame, self._numbers[pair], ()))
        self._file.flush()

    def end(self, time: int, lost: Mapping[str, int]) -> None:
        """Says at the end how many frames of each place found no room, on the place's first interface."""
        for (place, _), number in self._numbers.items():
            if count := lost.get(place, 0):
                lost = {name: n for name, n in lost.items() if name != place}
                body = struct.pack("<III", number, time >> 32, time & 0xFFFFFFFF)
                self._file.write(_block(STATISTICS, body, [(ISB_OSDROP, struct.pack("<Q", count))]))
        self._file.flush()


def _section(application: bytes) -> bytes:
    # Byte-order magic, version 1.0, and a length of the section that isn't given.
    return _block(SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1), [(SHB_USERAPPL, application)])


def _interface(place: str, interface: str) -> bytes:
    options = [
        (IF_NAME, f"{place}/{interface}".encode()),
        (IF_DESCRIPTION, f"interface {interface} of {place}".encode()),
        (IF_TSRESOL, bytes([NANOSECONDS])),
    ]
    return _block(INTERFACE, struct.pack("<HHI", LINKTYPE_ETHERNET, 0, SNAPLEN), options)


def _packet(frame: Frame, interface: int, comments: Sequence[str]) -> bytes:
    kept = len(frame.data)
    fields = (interface, frame.time >> 32, frame.time & 0xFFFFFFFF, kept, max(frame.length, kept))
    options = [(COMMENT, _text(comment)) for comment in comments]
    options.append((EPB_FLAGS, struct.pack("<I", OUTBOUND if frame.outgoing else INBOUND)))
    return _block(PACKET, struct.pack("<5I", *fields) + _padded(frame.data), options)


def _block(kind: int, body: bytes, options: Sequence[tuple[int, bytes]]) -> bytes:
    encoded = b"".join(struct.pack("<HH", code, len(value)) + _padded(value) for code, value in options)
    body += encoded + struct.pack("<HH", 0, 0)  # opt_endofopt
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _text(text: str) -> bytes:
    """A string as an option holds it: UTF-8, of at most 65535 bytes, cut between characters."""
    data = text.encode(errors="replace")
    return data if len(data) <= OPTION_ROOM else data[:OPTION_ROOM].decode(errors="ignore").encode()


# --- what the comments say ----------------------------------------------------------------------------------


def comments_of(path: Path) -> dict[int, list[str]]:
    """What was decided, by the index of the frame that it was decided about."""
    comments: dict[int, list[str]] = {}
    for hop in path.hops:
        text = _comment(hop)
        frame = _frame_of(hop, path.hops) if text else None
        if frame is not None and text not in comments.setdefault(frame, []):
            comments[frame].append(text)
    return comments


def _comment(hop: Hop) -> str:
    """What was decided at a hop; "" where the packet only passed."""
    if hop.event not in DECISIONS and not (hop.object or hop.rule or hop.conntrack or hop.route):
        return ""
    parts = [hop.object or hop.detail]
    if hop.object and hop.detail and hop.object not in hop.detail:
        parts.append(hop.detail)
    if hop.encapsulation:
        e = hop.encapsulation
        parts.append(
            f"{e.type}{'' if e.vni is None else f' vni {e.vni}'}, {e.outer_source} → {e.outer_destination}"
        )
    if hop.rule:
        parts.append(f"rule: {hop.rule}")
    if hop.conntrack:
        parts.append("conntrack: " + "; ".join(f"{k} {v}" for k, v in hop.conntrack.items()))
    if hop.route:
        parts.append(f"route: {hop.route}")
    return f"{hop.event} at {hop.place}: " + "; ".join(p for p in parts if p)


def _frame_of(hop: Hop, hops: Sequence[Hop]) -> int | None:
    """The hop's own first frame; of a decision without one (a server's record) the nearest at its place.

    Frames of the hop's connection come first, then what came before it: a proxy decides on what it has read.
    """
    if hop.frames:
        return hop.frames[0]
    near = [h for h in hops if h.place == hop.place and h.frames]
    if not near:
        return None

    def distance(other: Hop) -> tuple[bool, bool, int]:
        return (
            other.connection != hop.connection,
            other.index > hop.index,
            abs(other.index - hop.index),
        )

    return min(near, key=distance).frames[0]

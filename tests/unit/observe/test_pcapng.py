"""The capture file, read back with tshark."""

from __future__ import annotations

import io
import json
import shutil
import socket
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any

import pytest

from emulab.observe.events import Frame
from emulab.observe.path import Encapsulation, Hop, Path
from emulab.observe.pcapng import CaptureStream, comments_of, write

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

START = 1_767_225_600_123_456_789  # nanoseconds are kept: no float has room for them


def ethernet(payload: bytes) -> bytes:
    return bytes.fromhex("02000000000102000000000208 00") + payload


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, 64, protocol, 0)
    return header + socket.inet_aton(source) + socket.inet_aton(destination) + payload


def tcp(source: int, destination: int, sequence: int, flags: int, payload: bytes = b"") -> bytes:
    return struct.pack("!HHIIBBHHH", source, destination, sequence, 0, 5 << 4, flags, 64240, 0, 0) + payload


def udp(source: int, destination: int, payload: bytes) -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


SYN = ethernet(ipv4("198.51.100.2", "203.0.113.10", 6, tcp(40000, 80, 1000, 2)))
INNER = ethernet(ipv4("10.244.1.3", "10.244.2.3", 6, tcp(43586, 8080, 7000, 24, b"GET / HTTP/1.1\r\n\r\n")))
OUTER = ethernet(
    ipv4("10.0.0.11", "10.0.0.12", 17, udp(50000, 4789, bytes.fromhex("0800000000000100") + INNER))
)
DATAGRAM = ethernet(ipv4("10.0.0.2", "10.0.0.3", 17, udp(5000, 6000, b"odd")))

FRAMES = [
    Frame(START + 3_001, "router", "inet0", False, len(SYN), SYN),
    Frame(START, "client", "eth0", True, len(SYN), SYN),
    Frame(START + 9_999, "node1", "eth0", True, len(OUTER), OUTER),
    Frame(START + 12_000, "default.web-0", "eth0", False, 1500, INNER[:66]),  # the beginning alone was kept
    Frame(START + 12_000, "node1", "veth46696d9501d", True, len(DATAGRAM), DATAGRAM),
    Frame(START + 2_000_000_000, "client", "eth0", False, len(SYN), SYN),
]
COMMENTS = {
    2: ["encapsulate: vxlan vni 1, 10.0.0.11 → 10.0.0.12"],
    4: ["dnat: Service app/web", 'rule: tcp dport 80 "quoted" é'],
}
FIELDS = (
    "frame.time_epoch",
    "frame.interface_name",
    "frame.interface_description",
    "frame.len",
    "frame.cap_len",
    "frame.packet_flags_direction",
    "ip.src",
    "ip.dst",
    "tcp.srcport",
    "tcp.seq_raw",
)


def tshark(file: FilePath, *arguments: str) -> str:
    command = ["tshark", "-n", "-r", str(file), "-d", "udp.port==4789,vxlan", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def written(tmp_path: FilePath, frames: Sequence[Frame], comments: dict[int, list[str]]) -> FilePath:
    file = tmp_path / "trace.pcapng"
    with file.open("wb") as stream:
        write(stream, frames, comments)
    return file


@needs_tshark
def test_tshark_reads_every_frame_back(tmp_path: FilePath) -> None:
    file = written(tmp_path, FRAMES, COMMENTS)
    options = [word for name in FIELDS for word in ("-e", name)]
    lines = [
        line.split("|") for line in tshark(file, "-T", "fields", "-E", "separator=|", *options).splitlines()
    ]
    expected = sorted(FRAMES, key=lambda f: f.time)
    assert len(lines) == len(expected)
    for line, frame in zip(lines, expected, strict=True):
        stamp, name, description, length, kept, direction, *_ = line
        seconds, _, rest = stamp.partition(".")
        assert int(seconds) * 10**9 + int(rest.ljust(9, "0")) == frame.time
        assert name == f"{frame.place}/{frame.interface}"
        assert description == f"interface {frame.interface} of {frame.place}"
        assert (int(length), int(kept)) == (frame.length, len(frame.data))
        assert int(direction, 0) == (2 if frame.outgoing else 1)
    assert lines[0][6:] == ["198.51.100.2", "203.0.113.10", "40000", "1000"]
    assert lines[2][6:] == ["10.0.0.11,10.244.1.3", "10.0.0.12,10.244.2.3", "43586", "7000"]


@needs_tshark
def test_tshark_shows_the_bytes_and_the_comments(tmp_path: FilePath) -> None:
    file = written(tmp_path, FRAMES, COMMENTS)
    order = sorted(range(len(FRAMES)), key=lambda i: FRAMES[i].time)
    packets: list[dict[str, Any]] = json.loads(tshark(file, "-T", "json", "-x", "--no-duplicate-keys"))
    for packet, index in zip(packets, order, strict=True):
        layers = packet["_source"]["layers"]
        assert layers["frame_raw"][0] == FRAMES[index].data.hex()
    lines = tshark(file, "-T", "fields", "-E", "separator=|", "-E", "aggregator=@", "-e", "frame.comment")
    comments = dict(zip(order, lines.splitlines(), strict=True))
    for index, text in comments.items():
        assert text == "@".join(COMMENTS.get(index, []))


@needs_tshark
def test_an_interface_by_name_filters(tmp_path: FilePath) -> None:
    file = written(tmp_path, FRAMES, {})
    found = tshark(file, "-Y", 'frame.interface_name == "client/eth0"', "-T", "fields", "-e", "frame.number")
    assert found.split() == ["1", "6"]


@needs_tshark
def test_a_capture_of_nothing_is_a_capture(tmp_path: FilePath) -> None:
    assert tshark(written(tmp_path, [], {})) == ""


@needs_tshark
def test_a_comment_longer_than_an_option_is_cut_between_characters(tmp_path: FilePath) -> None:
    file = written(tmp_path, FRAMES[:1], {0: ["é" * 40_000]})
    assert tshark(file, "-T", "fields", "-e", "frame.number").split() == ["1"]
    assert ("é" * 32_767).encode() in file.read_bytes()


def test_blocks_are_aligned_and_end_with_their_length() -> None:
    stream = io.BytesIO()
    write(stream, FRAMES, COMMENTS)
    data, kinds = stream.getvalue(), []
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert size % 4 == 0 and struct.unpack_from("<I", data, size - 4)[0] == size
        kinds.append(kind)
        data = data[size:]
    assert kinds == [0x0A0D0D0A] + [1] * 5 + [6] * 6


def hop(index: int, place: str, event: str, frames: tuple[int, ...] = (), **more: Any) -> Hop:
    fields = {
        "direction": "request",
        "interface": "eth0" if frames else None,
        "protocol": "tcp",
        "detail": "",
    }
    addresses = {"source": "10.0.0.1:1", "destination": "10.0.0.2:2"}
    return Hop(
        index=index, time=index, delta=1, place=place, event=event, frames=frames,
        **{**fields, **addresses, **more},
    )  # fmt: skip


def path_of(*hops: Hop) -> Path:
    return Path("client", "10.0.0.2:2", None, 1.0, hops, ["client"])


def test_decisions_become_comments_on_the_packets_of_their_hops() -> None:
    pair = {"before": "a:1 → b:2", "after": "a:1 → c:3"}
    path = path_of(
        hop(0, "client", "send", (4,)),
        hop(1, "node1", "receive", (7, 8)),
        hop(2, "node1", "dnat", (7,), object="Service app/web", rule="dnat to c:3", conntrack=pair),
        hop(3, "node1", "encapsulate", (9,), encapsulation=Encapsulation("vxlan", 1, "n1", "n2")),
        hop(4, "node2", "forward", (10,), route="10.1.0.0/24 dev v0"),
        hop(5, "node2", "forward", (11,)),
    )
    assert comments_of(path) == {
        7: [
            "dnat at node1: Service app/web; rule: dnat to c:3; conntrack: before a:1 → b:2; after a:1 → c:3"
        ],
        9: ["encapsulate at node1: vxlan vni 1, n1 → n2"],
        10: ["forward at node2: route: 10.1.0.0/24 dev v0"],
    }


def test_a_decision_without_a_packet_goes_to_the_nearest_one_at_its_place() -> None:
    path = path_of(
        hop(0, "lb", "receive", (1,), connection=1),
        hop(1, "lb", "deliver", (2,), connection=1),
        hop(2, "lb", "proxy-accept", detail="round robin", connection=1),
        hop(3, "lb", "send", (3,), connection=2, direction="request"),
        hop(4, "lb", "proxy-connect", detail="to node1", connection=2),
        hop(5, "node9", "drop", detail="gone"),
    )
    assert comments_of(path) == {
        2: ["proxy-accept at lb: round robin"],
        3: ["proxy-connect at lb: to node1"],
    }


@needs_tshark
def test_a_stream_is_read_while_it_is_written(tmp_path: FilePath) -> None:
    """Interfaces are told when they are first seen, and at the end what was lost."""
    file = tmp_path / "stream.pcapng"
    with file.open("wb") as sink:
        stream = CaptureStream(sink)
        stream.write(FRAMES[1:2])
        assert _interfaces(file) == ["client/eth0"]
        stream.write([FRAMES[0], FRAMES[5]])
        stream.end(START + 3_000_000_000, {"router": 7, "elsewhere": 1})
    assert _interfaces(file) == ["client/eth0", "router/inet0", "client/eth0"]
    counted = subprocess.check_output(["capinfos", str(file)], text=True)
    assert "Number of packets:   3" in counted


def _interfaces(file: FilePath) -> list[str]:
    words = ["tshark", "-r", str(file), "-T", "fields", "-e", "frame.interface_name"]
    return subprocess.check_output(words, stderr=subprocess.DEVNULL, text=True).split()

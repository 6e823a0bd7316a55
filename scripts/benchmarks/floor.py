"""The floor of the kernel part: N pods with next to nothing around the system calls.

Namespace, veth into the node's bridge, address, default route. One thread unshares, one rtnetlink socket a namespace
is kept open, messages go out in batches, one `send` each, encoded by pyroute2's IPBatch: while the clock runs, or,
with `preencoded`, before it starts.

    python floor.py PODS ipbatch|preencoded      in a network namespace that may be spoilt; prints seconds
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading
import time
from typing import Any

from pyroute2 import IPBatch

NODES = 2
CLONE_NEWNET = 0x40000000
BATCH = 100  # messages a send
FIRST = len(socket.if_nameindex()) + 1  # index of a namespace's first link: above what every fresh one has
ENCODER = IPBatch()  # one for all: making one costs as much as encoding a link
LIBC = ctypes.CDLL(None, use_errno=True)


class Space:
    """A network namespace: its descriptor and an rtnetlink socket inside it."""

    def __init__(self) -> None:
        if LIBC.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.socket.bind((0, 0))

    def send(self, batch: bytes, messages: int) -> None:
        """Sends a batch and reads its acknowledgements. Raises OSError when one is an error."""
        self.socket.send(batch)
        while messages:
            data = self.socket.recv(1 << 16)
            offset = 0
            while offset < len(data):
                length, _, _, _, _, code = struct.unpack_from("=IHHIIi", data, offset)
                if code:
                    raise OSError(-code, os.strerror(-code))
                offset += (length + 3) & ~3
                messages -= 1


def mac(kind: int, number: int) -> str:
    return f"02:{kind:02x}:00:00:{number >> 8:02x}:{number & 255:02x}"


def taken() -> bytes:
    """The messages encoded since the last call."""
    messages = bytes(ENCODER.batch)
    ENCODER.reset()
    return messages


def bridge_batch(node: int) -> bytes:
    ENCODER.link("add", ifname="cni0", kind="bridge", index=10, address=mac(0xB0, node), state="up")
    ENCODER.addr("add", index=10, address=f"10.244.{node}.1", prefixlen=24)
    return taken()


def veth_batch(pods: dict[int, int]) -> bytes:
    """The pairs of one node; `pods` maps a pod's number to its namespace's descriptor."""
    for number, fd in pods.items():
        peer: dict[str, Any] = {"ifname": "eth0", "address": mac(1, number), "net_ns_fd": fd}
        link = {"ifname": f"veth{number}", "kind": "veth", "index": 100 + number, "address": mac(2, number)}
        ENCODER.link("add", **link, master=10, state="up", peer=peer)
    return taken()


def pod_batch(node: int, host: int) -> bytes:
    ENCODER.link("set", index=FIRST, state="up")
    ENCODER.addr("add", index=FIRST, address=f"10.244.{node}.{host}", prefixlen=24)
    ENCODER.route("add", dst="0.0.0.0/0", gateway=f"10.244.{node}.1", oif=FIRST)
    return taken()


def build(pods: int, preencoded: bool) -> float:
    """Builds everything in the calling thread and returns the seconds it took."""
    encoded: dict[tuple[int, int], bytes] = {}
    homes = [(i % NODES, i // NODES + 2) for i in range(pods)]
    before = 0.0
    begun = time.perf_counter()
    nodes = [Space() for _ in range(NODES)]
    spaces = [Space() for _ in range(pods)]
    if preencoded:  # descriptors are known only now, so the clock stands still for the encoding
        paused = time.perf_counter()
        encoded = {home: pod_batch(*home) for home in homes}
    chunks = []
    for number, node in enumerate(nodes):
        mine = [i for i in range(pods) if homes[i][0] == number]
        parts = [mine[i : i + BATCH] for i in range(0, len(mine), BATCH)]
        if preencoded:
            chunks += [(node, veth_batch({i: spaces[i].fd for i in part}), len(part)) for part in parts]
        else:
            node.send(bridge_batch(number), 2)
            for part in parts:
                node.send(veth_batch({i: spaces[i].fd for i in part}), len(part))
    if preencoded:
        bridges = [bridge_batch(number) for number in range(NODES)]
        before = time.perf_counter() - paused
        for node, batch in zip(nodes, bridges, strict=True):
            node.send(batch, 2)
        for node, batch, count in chunks:
            node.send(batch, count)
    for space, home in zip(spaces, homes, strict=True):
        space.send(encoded.get(home) or pod_batch(*home), 3)
    return time.perf_counter() - begun - before


def main() -> None:
    ENCODER.link("set", index=1, state="up")  # its tables are made at the first use
    ENCODER.reset()
    result: list[float] = []
    thread = threading.Thread(
        target=lambda: result.append(build(int(sys.argv[1]), sys.argv[2] == "preencoded"))
    )
    thread.start()
    thread.join()
    if not result:
        os._exit(1)
    print(result[0], flush=True)
    os._exit(0)  # the kernel takes it down


if __name__ == "__main__":
    main()

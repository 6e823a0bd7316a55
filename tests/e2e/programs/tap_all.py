"""Writes the packets of all interfaces of a namespace to stdout as a pcap stream of Linux "cooked" packets (SLL2).

For an ordinary user, where tcpdump can't capture (see tap.py). The stamps are the kernel's, in nanoseconds.
"""

import os
import socket
import struct
import sys

ETH_P_ALL = 3
LINKTYPE_LINUX_SLL2 = 276
SO_TIMESTAMPNS = 35

sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
os.write(1, struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, LINKTYPE_LINUX_SLL2))
print("listening on all interfaces", file=sys.stderr, flush=True)
while True:
    data, control, _, (name, protocol, kind, hardware, address) = sock.recvmsg(262144, 64)
    seconds, nanoseconds = struct.unpack("=qq", control[0][2][:16])
    cooked = struct.pack(
        "!HHIHBB8s", protocol, 0, socket.if_nametoindex(name), hardware, kind, len(address), address
    )
    size = len(cooked) + len(data)
    os.write(1, struct.pack("=IIII", seconds, nanoseconds, size, size) + cooked + data)

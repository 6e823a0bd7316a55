"""Writes the packets of an interface to stdout as a pcap stream: `tap.py INTERFACE`.

tcpdump itself cannot capture where its user is root of a user namespace: it insists on dropping to
another user, or on initgroups(3), and neither is allowed there. It reads this stream from outside instead.
"""

import os
import socket
import struct
import sys
import time

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33


def main() -> None:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind((sys.argv[1], 0))
    os.write(1, struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
    while True:
        packet = sock.recv(262144)
        now = time.time()
        os.write(1, struct.pack("=IIII", int(now), int(now % 1 * 1e6), len(packet), len(packet)) + packet)


main()

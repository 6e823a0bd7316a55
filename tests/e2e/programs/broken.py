"""A TCP server that breaks HTTP in the way it is told: `broken.py PORT close|hang`."""

import socket
import sys
import threading

server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
kept: list[socket.socket] = []


def serve(sock: socket.socket) -> None:
    sock.recv(65536)
    if sys.argv[2] == "hang":
        kept.append(sock)  # accepted, never answered
    else:
        sock.close()


while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

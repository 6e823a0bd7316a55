"""An HTTP server that breaks its answers off as the path says: `faulty.py PORT`; /reset, /cut, /silent, or well."""

import socket
import struct
import sys
import threading

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
kept: list[socket.socket] = []


def serve(sock: socket.socket) -> None:
    path = sock.recv(65536).split(b" ")[1:2]
    if path == [b"/silent"]:
        kept.append(sock)  # accepted, never answered
        return
    if path in ([b"/reset"], [b"/cut"]):
        sock.sendall(HEAD + b"0123456789")
        if path == [b"/reset"]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    else:
        sock.sendall(HEAD + b"x" * 100)
    sock.close()


server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

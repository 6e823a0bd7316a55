"""Connects COUNT times to ADDRESS PORT, one connection after the other; prints which pod answered how often."""

import collections
import json
import socket
import sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
counts: collections.Counter[str] = collections.Counter()
for _ in range(count):
    with socket.create_connection((address, port), 60) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    counts[json.loads(data.partition(b"\r\n\r\n")[2])["pod"]] += 1
print(json.dumps(counts))

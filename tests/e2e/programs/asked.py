"""A service that is asked whether requests may in, or gets copies of them, and tells what it was told.

`/seen` is what came, a JSON object each; any other answer has the last part of the path as its status, if that is one.
"""

from __future__ import annotations

import json
import re
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SEEN: list[dict[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/seen":
            return self._answer(200, "\n".join(map(json.dumps, SEEN)))
        fields = {name.lower(): value for name, value in self.headers.items()}
        SEEN.append({"path": self.path, **fields})
        status = re.search(r"/(\d{3})$", self.path)
        return self._answer(int(status[1]) if status is not None else 200, "", json.dumps(fields))

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self, status: int, text: str, seen: str = "-") -> None:
        self.send_response(status)
        self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("WWW-Authenticate", 'Basic realm="in"')
        self.send_header("X-Seen", seen)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


Server(("::", 8080), Handler).serve_forever()

"""An HTTP server that answers every request with the same status: `failing_server.py PORT STATUS`."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(int(sys.argv[2]))
        self.send_header("Content-Length", "0")
        self.end_headers()


ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()

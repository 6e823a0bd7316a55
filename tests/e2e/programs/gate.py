"""An HTTP server that is ready once a file is there: `gate.py PORT FILE`; `/ready` is for probes."""

import http.server
import os
import signal
import socket
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        open_ = self.path != "/ready" or os.path.exists(sys.argv[2])
        body = socket.gethostname().encode()
        self.send_response(200 if open_ else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # PID 1 has no default action


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6  # and of IPv4, where there is any (RFC 3493, 3.7)


try:
    server = Server(("::", int(sys.argv[1])), Handler)
except OSError:  # a lab of IPv4 alone has switched the other family off
    server = http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Handler)
server.serve_forever()

"""nginx with the pages that its image has: nginx.org, src/http and docs/html."""

from __future__ import annotations

from emulab.servers.echo.answers import EchoAnswer, Played
from emulab.servers.echo.images.gohttp import date
from emulab.servers.wire.http1.requests import Request

VERSION = "1.29.3"
_HTML = "text/html"
_WELCOME = b"""<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
<style>
html { color-scheme: light dark; }
body { width: 35em; margin: 0 auto;
font-family: Tahoma, Verdana, Arial, sans-serif; }
</style>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>If you see this page, the nginx web server is successfully installed and
working. Further configuration is required.</p>

<p>For online documentation and support please refer to
<a href="http://nginx.org/">nginx.org</a>.<br/>
Commercial support is available at
<a href="http://nginx.com/">nginx.com</a>.</p>

<p><em>Thank you for using nginx.</em></p>
</body>
</html>
"""
_UNHAPPY = b"""<!DOCTYPE html>
<html>
<head>
<title>Error</title>
<style>
html { color-scheme: light dark; }
body { width: 35em; margin: 0 auto;
font-family: Tahoma, Verdana, Arial, sans-serif; }
</style>
</head>
<body>
<h1>An error occurred.</h1>
<p>Sorry, the page you are looking for is currently unavailable.<br/>
Please try again later.</p>
<p>If you are the system administrator of this resource then you should check
the error log for details.</p>
<p><em>Faithfully yours, nginx.</em></p>
</body>
</html>
"""
_PAGES = {"/": _WELCOME, "/index.html": _WELCOME, "/50x.html": _UNHAPPY}
_MODIFIED = "Tue, 28 Oct 2025 12:05:10 GMT"
_ETAG = '"6900b176-{:x}"'


def answer(request: Request, played: Played, client: str) -> EchoAnswer:
    if request.method not in ("GET", "HEAD"):
        return _error(405, "Not Allowed")
    page = _PAGES.get(request.path)
    if page is _WELCOME and (own := played.options.get("index")):
        page = own.encode()
    if page is None:
        return _error(404, "Not Found")
    etag = _ETAG.format(len(page))
    fields = (date(), ("Last-Modified", _MODIFIED), ("ETag", etag), ("Accept-Ranges", "bytes"))
    if request.first("If-None-Match") == etag:
        return EchoAnswer(304, server=_server(), fields=fields[:3])
    return EchoAnswer(200, page, _HTML, server=_server(), fields=fields)


def _error(status: int, words: str) -> EchoAnswer:
    said = (
        f"<html>\r\n<head><title>{status} {words}</title></head>\r\n<body>\r\n"
        f"<center><h1>{status} {words}</h1></center>\r\n<hr><center>{_server()}</center>\r\n</body>\r\n</html>\r\n"
    )
    return EchoAnswer(status, said.encode(), _HTML, server=_server(), fields=(date(),), reason=words)


def _server() -> str:
    return f"nginx/{VERSION}"

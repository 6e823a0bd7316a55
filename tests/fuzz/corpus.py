"""Byte sequences for servers of HTTP: hand-made ones for each way to differ about a message, and random mixtures.

A sequence has a number, and each request in it names the number (`z17z`) in its target, also a request that must
never be seen because it stands inside a body: so whoever sees it knows where it came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

_STARTS = r"""
GET /N HTTP/1.1|GET /N HTTP/1.0|GET /N HTTP/1.2|GET /N HTTP/1.10|GET /N HTTP/1.01|GET /N HTTP/2.0
GET /N HTTP/0.9|GET /N HTTP/11.1|GET /N HTTP/1.1000|GET /N HTTP/1|GET /N HTTP/1.|GET /N http/1.1|GET /N RTSP/1.0
GET /N HTTP/1.1 x|GET /N|GET /N |GET  /N HTTP/1.1|GET /N  HTTP/1.1|GET /N HTTP/1.1  | GET /N HTTP/1.1
GET\t/N HTTP/1.1|GET /N\tHTTP/1.1|FOO /N HTTP/1.1|GET_X /N HTTP/1.1|M-SEARCH /N HTTP/1.1|get /N HTTP/1.1
G3T /N HTTP/1.1|G(T /N HTTP/1.1|-_ /N HTTP/1.1|HEAD /N HTTP/1.1|POST /N HTTP/1.1|PUT /N HTTP/1.1
DELETE /N HTTP/1.1|PATCH /N HTTP/1.1|OPTIONS /N HTTP/1.1|OPTIONS * HTTP/1.1|TRACE /N HTTP/1.1
CONNECT zN:80 HTTP/1.1|PRI * HTTP/2.0|PROPFIND /N HTTP/1.1|GET * HTTP/1.1|GET http://h/N HTTP/1.1
GET http://h?N HTTP/1.1|GET http://h:81/N HTTP/1.1|GET http://h:/N HTTP/1.1|GET http://h:x/N HTTP/1.1
GET http://u@h/N HTTP/1.1|GET http://[::1]/N HTTP/1.1|GET http:///N HTTP/1.1|GET http:/h/N HTTP/1.1
GET ftp://h/N HTTP/1.1|GET HTTPS://H/N HTTP/1.1|GET h1+.-x://h/N HTTP/1.1|GET http://a_b/N HTTP/1.1
GET http://h#/N HTTP/1.1|GET http://h../N HTTP/1.1|GET 1http://h/N HTTP/1.1|GET /N\xe9\xff?\x80 HTTP/1.1
GET /N\x7f HTTP/1.1|GET /N\x00 HTTP/1.1|GET /N\x01 HTTP/1.1|GET /N%00 HTTP/1.1|GET /N%zz HTTP/1.1
GET /N/../x HTTP/1.1|GET /../N HTTP/1.1|GET /N#f HTTP/1.1|GET //N HTTP/1.1|GET /N?a=%00&%zz HTTP/1.1
GET /N"<>^`{} HTTP/1.1|GET /N b HTTP/1.1|GET /N\r HTTP/1.1|GET /N HTTP/1.1\r|\r\n\r\nGET /N HTTP/1.1
\nGET /N HTTP/1.1|GET ?N HTTP/1.1|GET ://h/N HTTP/1.1|\x16\x03\x01\x02N|SSH-2.0-N
"""

_FIELDS = r"""
Host: h|Host: other|host:h|Host:|Host: |Host : h|Host: a b|Host: a/b|Host: a..b|Host: .|Host: :80|Host: h:80
Host: h:x|Host: a:b:c|Host: [::1]|Host: [::1|Host: a\tb|Host: \xe9|Host: H.|Host: h@x|Host: a,b|Host: 127.0.0.1
Content-Length: 0|Content-Length: 5|Content-Length: 05|Content-Length: +5|Content-Length: -5|Content-Length: 5 5
Content-Length: 5, 5|Content-Length: 5,6|Content-Length: 0x5|Content-Length:|Content-Length: 5 |Content-Length:\t5
Content-Length : 5|Content-Length\t: 5|Content_Length: 5|Content-Length: 99999999999999999999
Content-Length: 5\x0b|Content-Length: 9223372036854775808|Content-Length: 5;q|content-length: 3
Content-Length: 5.0|Content-Length: 1e1|Transfer-Encoding: chunked|Transfer-Encoding: Chunked
transfer-encoding:chunked|Transfer-Encoding: chunked |Transfer-Encoding:|Transfer-Encoding : chunked
Transfer-Encoding:\tchunked|Transfer-Encoding: \x0bchunked|Transfer-Encoding: xchunked
Transfer-Encoding: chunked, chunked|Transfer-Encoding: gzip, chunked|Transfer-Encoding: chunked, identity
Transfer-Encoding: identity|Transfer-Encoding: "chunked"|Transfer-Encoding: chunked;q=1
Transfer_Encoding: chunked|Transfer-Encoding\x00: chunked|Transfer-Encoding: chun\x00ked
X: y\r\n Transfer-Encoding: chunked|X: \nTransfer-Encoding: chunked|X: \rTransfer-Encoding: chunked
X:\r\n\tContent-Length: 5|Transfer-Encoding: chun\r\n ked|Transfer-Encoding: chunked\r
Connection: Content-Length|Connection: Transfer-Encoding|Connection: Host|Connection: close
Connection: keep-alive|Connection: close, Content-Length|Connection: Keep-Alive, Host
Connection: X-Forwarded-For|Connection: upgrade|Connection:|Keep-Alive: 5|Proxy-Connection: keep-alive
TE: trailers|Trailer: X|Upgrade: websocket|Upgrade: h2c|Expect: 100-continue|Expect: 100-Continue|Expect: x
Expect:|Authorization: a|Cookie: a|Cookie: b|If-Match: a|Range: bytes=0-1|X: y|X:y|X:|X: \xff|X: \x01\x7f
X: \x1b[0m|X\x01: y|X\x7f: y|X\xe9: y|X_Y: y|X(Y): y|X Y: y|X|: y|X: \x00| X: y|\tX: y|X: y\r|X: a\nY: b
X: a\rY: b|X-Forwarded-For: 1.1.1.1|X-Real-IP: 1.1.1.1|Forwarded: for=1|User-Agent: a|Accept-Encoding: gzip
"""

_CHUNKS = r"""
0\r\n\r\n|5\r\nhello\r\n0\r\n\r\n|5;a=b\r\nhello\r\n0;c\r\n\r\n|05\r\nhello\r\n000\r\n\r\n
5\r\nhello\r\n0\r\nX: y\r\n\r\n|5\nhello\n0\n\n|5\r\nhello0\r\n\r\n|5\r\nhelloX\r\n0\r\n\r\n
5 \r\nhello\r\n0\r\n\r\n|5 x\r\nhello\r\n0\r\n\r\n| 5\r\nhello\r\n0\r\n\r\n|0x5\r\nhello\r\n0\r\n\r\n
-5\r\nhello\r\n0\r\n\r\n|+5\r\nhello\r\n0\r\n\r\n|G\r\n|5;\x01\r\nhello\r\n0\r\n\r\n|\r\n0\r\n\r\n
5\r\nhello\r\n0\r\nbad trailer\r\n\r\n|5\r\nhello\r\n0\r\n X: y\r\n\r\n|5;a\nb\r\nhello\r\n0\r\n\r\n
5;a\rb\r\nhello\r\n0\r\n\r\n|fffffffffffffffff\r\n|ffffffffffffffff\r\n|7fffffffffffffff\r\n
00000000000000005\r\nhello\r\n0\r\n\r\n|A\r\nhellohello\r\n0\r\n\r\n|5\r\nhello\r\n00000\r\n\r\n
5\r\nhello\r\n0\r\n\r|5\r\r\nhello\r\n0\r\n\r\n|5\t;a\r\nhello\r\n0\r\n\r\n|5\r\nhello\r\n0\r\nX : y\r\n\r\n
"""

_ANSWER_STARTS = r"""
HTTP/1.1 200 OK|HTTP/1.1 200|HTTP/1.1 200 |HTTP/1.0 200 OK|HTTP/1.2 200 OK|HTTP/2.0 200 OK|HTTP/0.9 200 OK
HTTP/1.1  200 OK|HTTP/1.1 204 No Content|HTTP/1.1 304 Not Modified|HTTP/1.1 205 Reset|HTTP/1.1 404 Not Found
HTTP/1.1 500 x|HTTP/1.1 999 x|HTTP/1.1 099 x|HTTP/1.1 99 x|HTTP/1.1 0200 OK|HTTP/1.1 2000 OK|HTTP/1.1 -20 x
HTTP/1.1 2x0 OK|HTTP/1.1 OK|http/1.1 200 OK|HTTP/1.1\t200 OK|HTTP/1.1 200\tOK|HTTP/1.1 200 O\xffK
HTTP/1.1 200 O\x00K|HTTP/1.1 200 O\rK|ICY 200 OK|SSH-2.0-x|HTTP/1.1 403.1 x|HTTP/1.1 101 Switch
HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK|HTTP/1.1 103 Hint\r\nLink: x\r\n\r\nHTTP/1.1 200 OK
"""

_POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nPOISON!"


def _words(text: str) -> list[bytes]:
    """The alternatives in a table, with its escapes resolved; a `|` of its own is a table's end of line."""
    words = [word for line in text.strip("\n").split("\n") for word in line.split("|")]
    return [word.encode().decode("unicode_escape").encode("latin-1") for word in words]


STARTS, FIELDS, CHUNKS, ANSWER_STARTS = map(_words, (_STARTS, _FIELDS, _CHUNKS, _ANSWER_STARTS))
BODIES = [
    b"hello",
    b"hel",
    b"",
    b"GET /N HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\r\n\r\n",
    b"helloGET /N HTTP/1.1\r\nHost: h\r\n\r\n",
]


def numbered(data: bytes, number: int) -> bytes:
    """With its number in each place that is kept for it."""
    mark = b"z%04dz" % number
    for place in (b"/N", b"?N", b"//N", b"02N", b"-N", b"zN:"):
        data = data.replace(place, place.replace(b"N", mark))
    return data


def size_of(body: bytes) -> int:
    """The size that a body has once its number is in its place."""
    return len(numbered(body, 0))


def request(start: bytes, fields: list[bytes], body: bytes = b"", end: bytes = b"\r\n") -> bytes:
    return end.join([start, *fields, b"", b""]) + body


def hand_made() -> list[bytes]:
    """Each oddity by itself, in a request that is otherwise right."""
    host = b"Host: h"
    made = [request(start, [host]) for start in STARTS]
    made += [request(start, []) for start in STARTS[:3]]
    for field in FIELDS:
        fields = [field] if field.lower().startswith(b"host") else [host, field]
        made.append(request(b"POST /N HTTP/1.1", fields, BODIES[5]))
        made.append(request(b"GET /N HTTP/1.0", fields, b""))
    framed = [b"Content-Length: 5", b"Transfer-Encoding: chunked"]
    made += [request(b"POST /N HTTP/1.1", [host, framed[1]], chunks) for chunks in CHUNKS]
    for first in framed:
        for second in (
            *framed,
            b"Connection: Content-Length, Transfer-Encoding",
            b"Expect: 100-continue",
            b"Content-Length: 6",
        ):
            body = CHUNKS[1] if b"chunked" in first else b"hello"
            made.append(request(b"POST /N HTTP/1.1", [host, first, second], body))
            made.append(request(b"POST /N HTTP/1.1", [host, second, first], body))
    made += [request(b"GET /N HTTP/1.1", [host], end=b"\n"), request(b"GET /N HTTP/1.1", [host], end=b"\r")]
    for size in (8176 - 8, 8190, 9000):
        made.append(request(b"GET /N" + b"a" * (size - 8) + b" HTTP/1.1", [host]))
        made.append(request(b"GET /N HTTP/1.1", [host, b"X: " + b"a" * size]))
    for size, count in ((5000, 4), (5000, 6), (3000, 12), (20, 100), (20, 3000)):
        made.append(request(b"GET /N HTTP/1.1", [host, *[b"X: " + b"a" * size] * count]))
    made.append(request(b"POST /N HTTP/1.1", [host, b"Content-Length: 1048577"], b"hello"))
    smuggled = b"GET /N HTTP/1.1\r\nHost: h\r\nX-Ignore: "
    for connection in (b"Content-Length", b"close, Content-Length", b"content-length, host"):
        fields = [host, b"Connection: " + connection, b"Content-Length: %d" % size_of(smuggled)]
        made.append(request(b"POST /N HTTP/1.1", fields, smuggled))
    return made


def mixture(random: Random) -> bytes:
    """One or two requests in which up to three things are odd."""
    made = b""
    for _ in range(random.choice((1, 1, 2))):
        start = (
            random.choice(STARTS)
            if random.random() < 0.3
            else random.choice((b"GET", b"POST", b"PUT")) + b" /N HTTP/1.1"
        )
        fields = [b"Host: h"] if random.random() < 0.95 else []
        body = b""
        framing = random.choice(("", "", "length", "chunked"))
        if framing == "length":
            body = random.choice(BODIES)
            fields.append(
                b"Content-Length: %d" % (size_of(body) + random.choice((0, 0, 0, 0, 1, -1)) if body else 0)
            )
        elif framing == "chunked":
            body = random.choice(CHUNKS) if random.random() < 0.5 else CHUNKS[1]
            fields.append(b"Transfer-Encoding: chunked")
        fields += random.choices(FIELDS, k=random.choice((0, 1, 1, 2)))
        random.shuffle(fields)
        made += request(start, fields, body)
    return made


def requests(seed: int, count: int) -> list[bytes]:
    """`count` sequences, each with its number in its place."""
    random, made = Random(seed), hand_made()
    made += [mixture(random) for _ in range(count - len(made))]
    return [numbered(data, number) for number, data in enumerate(made[:count])]


@dataclass(frozen=True)
class Script:
    """What a hostile backend does for one request: it sends this, and then closes or not."""

    method: bytes
    data: bytes
    close: bool
    excessive: bool = False  # more than an answer, for sure, over a connection that stays


def answer(random: Random) -> Script:
    """A random answer in which up to three things are odd; the backend closes behind it."""
    start = random.choice(ANSWER_STARTS) if random.random() < 0.4 else b"HTTP/1.1 200 OK"
    fields, body = [], random.choice((b"ok", b"", b"a longer one\r\n"))
    framing = random.choice(("", "length", "length", "chunked"))
    if framing == "length":
        fields.append(b"Content-Length: %d" % max(0, len(body) + random.choice((0, 0, 0, 1, -1))))
    elif framing == "chunked":
        fields.append(b"Transfer-Encoding: chunked")
        body = random.choice(CHUNKS)
    usual = [field for field in FIELDS if not field.lower().startswith((b"host", b"expect", b"upgrade"))]
    fields += random.choices(usual, k=random.choice((0, 0, 1, 1, 2)))
    random.shuffle(fields)
    body += random.choice((b"", b"", b"", _POISON, b"!"))
    end = random.choice((b"\r\n",) * 15 + (b"\n",))
    return Script(random.choice((b"GET", b"GET", b"GET", b"HEAD")), request(start, fields, body, end), True)


def answers(seed: int, count: int) -> list[Script]:
    """Hand-made answers, then random ones."""
    whole = [
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"),
    ]
    made = [
        Script(method, data + more, False, bool(more))
        for method, data in whole
        for more in (b"", _POISON, b"!", b"\r\n")
    ]
    for start in ANSWER_STARTS:
        made.append(Script(b"GET", request(start, [b"Content-Length: 2"], b"ok"), True))
    for field in FIELDS:
        made.append(Script(b"GET", request(b"HTTP/1.1 200 OK", [field], b"hello"), True))
    for chunks in CHUNKS:
        made.append(
            Script(b"GET", request(b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"], chunks), True)
        )
    for size in (4000, 4096 - 44, 4100, 9000):
        made.append(
            Script(
                b"GET",
                request(b"HTTP/1.1 200 OK", [b"Content-Length: 2", b"X: " + b"a" * (size - 44)], b"ok"),
                True,
            )
        )
    random = Random(seed)
    return made + [answer(random) for _ in range(count - len(made))]

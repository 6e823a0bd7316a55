"""HTTP/1: reads and writes messages.

* `head`     bytes of a head → request line or status line, and fields
* `framing`  what a head says of its body → where the body ends, and how that is told to the next hop
* `reader`   bytes of a connection → heads of requests, in the dialect of whoever is asked
* `requests` the dialect of Go's net/http, and whole requests for servers that answer by themselves
* `writing`  a head → its bytes
* `client`   one request → its bytes, and the bytes of its response → status, fields, body

Rules:

* Strict where two readers could differ about where a message ends: lines end in CRLF, a field has a name and a
  colon right after it, no line is folded, no octet is NUL. As generous as nginx everywhere else. `client` passes
  nothing on, and so may be more generous with heads.
* A message's framing is decided once, in `framing`, from what was parsed, and written anew from that decision: the
  field lines that told of it are never passed on.
* There is one reader of requests. What the ingress takes otherwise than the stand-in is said by a `reader.Dialect`.
"""

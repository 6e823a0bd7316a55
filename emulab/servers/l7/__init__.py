"""The L7 proxy: a reverse proxy for HTTP that behaves like one of its personalities, of which ingress-nginx is one.

What it is told is in `config`, the one module of it that others may know.

Bytes take this way; `engine` and `messages` are sans-I/O, `shell` has the sockets:

    client → shell.client → engine.connection → engine.exchange → shell.upstream → server
    client ← shell.client ←               engine.exchange       ← shell.upstream ← server

A client that speaks HTTP/2 has `shell.http2` and `engine.http2` in the places of the first two: a stream is to its
exchange what a connection of HTTP/1 is (`engine.clientside`). A server that is asked over HTTP/2 is asked one request
at a time, which `messages.http2response` translates, so that exchanges needn't know of it.

* `engine`: `connection` reads a client's requests in order, `exchange` is one request and its answer: both take events
  with the time and append `commands`; `routes` decides who gets a request, `filters` what is changed on its way;
  `snapshot` is a configuration, checked; `ways` are those to servers other than plain HTTP/1.1.
* `messages`: what is in heads, how they are written anew, and what becomes of their fields.
* `personalities`: what a make of proxy has of its own: its dialect, pages, order of paths, what upstreams are told.
* `shell`: `client` and `upstream` are the two ends, `opening` connects to servers, `tunnel` takes over after a 101,
  `tls` finds certificates for clients and `towards` speaks TLS to servers, `clientcertificates` looks at those of
  clients, `proxied` reads PROXY headers, `asking` what gates want to know, `context` is what connections share,
  `outbox` sends, `server` listens and reconfigures.
* `workers`: several processes of the above, where one isn't enough.

Records; all but `error` have client and local, the two ends of the client's connection:

    proxy-accept    tls; at the time of the accept, though told after the TLS handshake
    tls             version, cipher, server_name (SNI), certificate: the names it is for, or `fake`
    proxy-try       what proxy-connect has, without source and reused: a connection is being opened
    proxy-connect   upstream_source, upstream, upstream_name, attempt, reused, request_id, the rule
    upstream-error  the same but for reused; reason, next: `another try`, `a new connection`, `answers 502`, …
    request         method, host, path, version (of HTTP: 1.0, 1.1, 2.0), status, upstream, upstream_name, duration_us,
                    answered_by (`upstream`, `ingress`, or empty: the client left), reason (empty after a plain answer
                    of the upstream, unless that has its server left out for a while), request_id (as the upstream and
                    the access log have it), the rule; refused_by: whose wish it was, where a client may not in;
                    address: who asks, where somebody in front says so
    auth-request    url, status (0: no answer, and reason says why), duration_us: what was asked of another service,
                    before a request may in
    proxy-header    reason: a connection was closed, as the PROXY protocol is spoken here and it began otherwise
    error           message: a certificate that can't be used

The rule that the route was made from is in four fields: rule (its origin), rule_host, rule_path, rule_type; all empty
when none matched. The default upstream's is `default backend`.
"""

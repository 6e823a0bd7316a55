"""The HTTP ingress: a reverse proxy that behaves like ingress-nginx with its default settings.

Configuration, all of it data:

* `listen`, `tls_listen`: socket keys; `tls_listen` names those of `listen` that speak TLS.
* `rules`: mappings with `host`, `path`, `path_type`, `upstream`, `origin` (for records), `ssl_redirect`.
* `default_upstream`: takes what no rule takes; without one that is a 404.
* `upstreams`: by name, `{"servers": ["10.96.12.7:80", …], "balance": "roundrobin"}`; no servers is a 503.
* `certificates`: `{"hosts": […], "certificate": PEM, "key": PEM}`; SNI picks.
* `resolv_conf`, `hosts`: texts as of resolv.conf(5) and hosts(5), by which servers that are names are resolved; they
  are asked anew for each connection.
* `options`: see `config.Options`.

Bytes take this way; `engine` and `messages` are sans-I/O, `shell` has the sockets:

    client → shell.client → engine.connection → engine.exchange → shell.upstream → server
    client ← shell.client ←               engine.exchange       ← shell.upstream ← server

* `engine`: `connection` reads a client's requests in order, `exchange` is one request and its answer: both take events
  with the time and append `commands`; `routes` decides who gets a request.
* `messages`: reads and writes heads, and knows what becomes of their fields.
* `pages` holds the answers of our own.
* `shell`: `client` and `upstream` are the two ends, `tunnel` takes over after a 101, `tls` finds certificates,
  `context` is what connections share, `server` listens and reconfigures.

Records; all but `error` have client and local, the two ends of the client's connection:

    proxy-accept    tls; at the time of the accept, though told after the TLS handshake
    tls             version, cipher, server_name (SNI), certificate: the names it is for, or `fake`
    proxy-try       what proxy-connect has, without source and reused: a connection is being opened
    proxy-connect   upstream_source, upstream, upstream_name, attempt, reused, the rule
    upstream-error  the same but for reused; reason, next: `another try`, `a new connection`, `answers 502`, …
    request         method, host, path, status, upstream, upstream_name, duration_us, answered_by (`upstream`,
                    `ingress`, or empty: the client left), reason (empty after a plain answer of the upstream),
                    the rule
    error           message: a certificate that can't be used

The rule is in four fields: rule (its origin), rule_host, rule_path, rule_type; all empty when none matched. The
default upstream's is `default backend`.
"""

from __future__ import annotations

from emulab.servers.base import Emit, Server
from emulab.servers.l7.shell.server import IngressServer


def create(emit: Emit) -> Server:
    """A proxy that serves nothing until it is configured; it reports through `emit`."""
    return IngressServer(emit)

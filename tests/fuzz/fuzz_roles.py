"""Name servers in their three roles, without sockets, for fuzzers."""

from __future__ import annotations

from typing import Any

_ZONE = {
    "origin": "a.",
    "records": [
        ["a.", "MX", "10 b.a.", 30],
        ["b.a.", "A", "192.0.2.7", 30],
        ["b.a.", "A", "192.0.2.8", 30],
        ["c.a.", "CNAME", "c.a.", 30],
        ["*.d.a.", "TXT", "x" * 255, 30],
        ["e.a.", "NS", "b.a.", 30],
    ],
    "routed": [
        {"name": "f.a.", "type": "A", "data": ["192.0.2.9"], "ttl": 5, "weight": 1},
        {"name": "f.a.", "type": "A", "data": ["192.0.2.10"], "ttl": 5, "weight": 3},
    ],
}
_CLUSTER = {
    "domain": "k.",
    "namespaces": ["n"],
    "services": {
        "n/s": {"namespace": "n", "name": "s", "addresses": ["10.96.0.1"], "ports": [["p", "TCP", 1]]}
    },
    "slices": {"n/s/s": {"endpoints": [["h", "10.0.0.1", True]], "ports": []}},
    "verified": {"n/p": {"namespace": "n", "addresses": ["192.0.2.1"]}},
}
_BLOCK = {
    "zones": ["."],
    "cluster": True,
    "autopath": {"zones": ["."], "of_pods": True},
    "rewrites": [
        ["exact", "MX", "A", False, True, "type", [], 0, 0],
        ["regex", "^t", "^t", False, True, "ttl", [], 1, 5],
        ["regex", ".*", ".*", False, True, "rcode", [], 3, 0],
        ["suffix", ".w.", ".n.svc.k.", True, False, "name", [], 0, 0],
    ],
    "hosts": {"zones": ["."], "entries": [["10.0.0.2", ["h."]]], "fallthrough": ["."]},
    "templates": [{"zones": ["t."], "rtype": "ANY", "answers": ["{{ .Name }} 60 IN A 10.0.0.3"]}],
}


class _Quiet:
    wanted = False

    def __call__(self, record: dict[str, object], /) -> None:
        return


def roles(responder: type[Any]) -> list[Any]:
    """An authoritative server, a resolver that nobody answers, and a cluster's."""
    from emulab.servers.configuration import from_json
    from emulab.servers.dns.config import DnsConfig
    from emulab.servers.dns.settings import DnsSettings

    found = []
    for config in (
        {"zones": [_ZONE]},
        {"forward": ["192.0.2.53:53"], "upstream": {"timeout": 0.001, "tries": 1}},
        {"kubernetes": _CLUSTER, "blocks": [_BLOCK]},
    ):
        made = responder(_Quiet())
        made.configure(DnsSettings().changed(from_json(DnsConfig, {"listen": [], **config})))
        found.append(made)
    return found

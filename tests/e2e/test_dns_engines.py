"""Real name servers in the places of emulab's own ones: what Debian's unbound and dnsmasq answer from one set of
objects, asked by dig and kdig. As root and as anyone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from .crashes import User

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {nodes: 1, dns: {engine: ENGINE}}
---
apiVersion: emulab.dev/v1
kind: Resolver
metadata: {name: resolver}
spec: {engine: ENGINE, maxTTL: 7}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: shop.test}
spec:
  records:
    - {name: www, type: A, value: 203.0.113.81}
    - {name: pool, type: A, value: 203.0.113.81}
    - {name: pool, type: A, value: 203.0.113.82}
    - {name: alias, type: CNAME, value: www.shop.test}
    - {name: out, type: CNAME, value: www.other.test}
    - {name: "*.wild", type: A, value: 203.0.113.83}
    - {name: txt, type: TXT, value: "it's \\"so\\" v=1"}
    - {name: "@", type: MX, value: 10 mail.shop.test}
    - {name: "@", type: CAA, value: 0 issue "letsencrypt.org"}
    - {name: _http._tcp, type: SRV, value: 0 5 80 www.shop.test}
    - {name: canary, type: A, value: 10.0.0.1, weight: 1}
    - {name: canary, type: A, value: 10.0.0.2, weight: 1}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: other.test}
spec: {records: [{name: www, type: A, value: 203.0.113.91}]}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: corp.test}
spec:
  visibility: private
  records: [{name: db, type: A, value: 10.0.0.5}, {name: alias, type: CNAME, value: db.corp.test}]
"""
ANSWERS = {
    ("www.shop.test", "A"): {"203.0.113.81"},
    ("pool.shop.test", "A"): {"203.0.113.81", "203.0.113.82"},
    ("alias.shop.test", "A"): {"www.shop.test.", "203.0.113.81"},
    ("out.shop.test", "A"): {"www.other.test.", "203.0.113.91"},
    ("x.wild.shop.test", "A"): {"203.0.113.83"},
    ("txt.shop.test", "TXT"): {'"it\'s \\"so\\" v=1"'},
    ("shop.test", "MX"): {"10 mail.shop.test."},
    ("shop.test", "CAA"): {'0 issue "letsencrypt.org"'},
    ("_http._tcp.shop.test", "SRV"): {"0 5 80 www.shop.test."},
    ("none.shop.test", "A"): set(),
    ("www.shop.test", "AAAA"): set(),
    ("nowhere.org", "A"): set(),
}
CONFS = {"unbound": "/etc/unbound/unbound.conf", "dnsmasq": "/usr/share/dnsmasq-base/dnsmasq.conf"}
FOLLOWED = {"unbound": "", "dnsmasq": "*.wild.shop.test. is wild.shop.test. itself, too"}
DNS, RESOLVER = "198.51.100.54", "198.51.100.53"
OTHERWISE = {("unbound", DNS, "out.shop.test"): {"www.other.test."}}
"""An alias into another zone of the server is left to who resolves."""


@pytest.mark.parametrize("engine", ["builtin", "unbound", "dnsmasq"])
def test_programs_answer_what_objects_say(user: User, engine: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(WORLD.replace("ENGINE", engine))
        file.flush()
        Path(file.name).chmod(0o644)
        up = user.run("up", file.name)
        user.note()
        assert up.returncode == 0, up.stderr

        def run(place: str, *words: str) -> str:
            result = user.run("exec", place, "--", *words)
            assert result.returncode == 0, result.stderr
            return result.stdout

        def answers(program: str, server: str, name: str, kind: str) -> set[str]:
            shown = run("client", program, "+short", "+time=5", f"@{server}", name, kind)
            return {line.strip() for line in shown.splitlines()}

        for server, program in ((DNS, "dig"), (RESOLVER, "kdig")):
            for (name, kind), usual in ANSWERS.items():
                expected = OTHERWISE.get((engine, server, name), usual)
                assert answers(program, server, name, kind) == expected, (server, name, kind)
        assert "10.0.0.5" in run("node1", "dig", "+short", "alias.corp.test")
        ttl = run("client", "dig", "+noall", "+answer", "www.shop.test").split()[1]
        assert 0 <= int(ttl) <= 7  # 0: a program says so of what is in its last second

        if engine in CONFS:
            assert f"aren't drawn by {engine}: they are answered like" in up.stderr
            assert FOLLOWED[engine] in up.stderr
            assert "www.shop.test" in run("dns", "sh", "-c", f"cat {CONFS[engine].rpartition('/')[0]}/*")
            assert "198.51.100.54" in run("resolver", "cat", CONFS[engine])
            refused = user.run("dns", "poison", "www.shop.test", "10.0.0.9", "--at", "resolver")
            assert refused.returncode == 1 and f"its cache is {engine}'s" in refused.stderr
        caches_are_an_operators(user, engine)

        Path(file.name).write_text(WORLD.replace("ENGINE", engine).replace("203.0.113.91", "203.0.113.92"))
        assert user.run("apply", "-f", file.name).returncode == 0
        assert answers("dig", DNS, "www.other.test", "A") == {"203.0.113.92"}


def caches_are_an_operators(user: User, engine: str) -> None:
    """As far as the program has them shown and emptied."""
    dumped = user.run("dns", "dump", "www.shop.test", "--at", "resolver")
    if engine == "dnsmasq":
        assert dumped.returncode == 1 and "shows it to nobody but its log" in dumped.stderr
        assert user.run("dns", "flush", "www.shop.test", "--at", "resolver").returncode == 1
        flushed = user.run("dns", "flush")  # of all that have a cache, of which the others count
        assert flushed.returncode == 0 and "resolver: all answers flushed" in flushed.stdout
        return
    assert dumped.returncode == 0 and "A 203.0.113.81" in dumped.stdout, dumped
    if engine == "unbound":
        assert "www.shop.test" in user.run("exec", "resolver", "--", "unbound-control", "dump_cache").stdout
    flushed = user.run("dns", "flush", "www.shop.test", "--at", "resolver")
    assert flushed.returncode == 0 and "resolver: 0 answers" not in flushed.stdout
    assert (
        user.run("dns", "dump", "www.shop.test", "--at", "resolver").stdout
        == "Nothing is kept of www.shop.test\n"
    )

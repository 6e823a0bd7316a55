"""Resolvers of regions, each with its cache; `emulab dns` shows, empties and spoils them. As root and as anyone."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from .crashes import User

WORLD = """
apiVersion: emulab.dev/v1
kind: Cluster
metadata: {name: c}
spec: {nodes: 1}
---
apiVersion: emulab.dev/v1
kind: Zone
metadata: {name: moving.test}
spec:
  records:
    - {name: www, type: A, value: 203.0.113.81, ttl: 600}
    - {name: gone, type: CNAME, value: gone2.moving.test}
    - {name: gone2, type: CNAME, value: gone.moving.test}
---
apiVersion: emulab.dev/v1
kind: Resolver
metadata: {name: resolver-eu}
spec: {maxTTL: 60, serveStale: 600, mixedCase: true}
---
apiVersion: emulab.dev/v1
kind: Resolver
metadata: {name: resolver-us}
spec: {network: vpc, forward: [198.51.100.99, 198.51.100.54]}
---
apiVersion: emulab.dev/v1
kind: Resolver
metadata: {name: resolver}
spec: {maxTTL: 7}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: eu}
spec: {resolver: resolver-eu}
---
apiVersion: emulab.dev/v1
kind: Client
metadata: {name: us}
spec: {resolver: resolver-us, network: vpc}
"""


def test_caches_of_regions(user: User) -> None:
    """One region has a wrong record, the others don't; each forgets in its own time, or when it is told to."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(WORLD)
        file.flush()
        Path(file.name).chmod(0o644)
        user.up(file.name)

    def asked(place: str, name: str = "www.moving.test", *more: str) -> list[str]:
        result = user.run("exec", place, "--", "dig", "+noall", "+answer", "+time=5", *more, name)
        assert result.returncode == 0, result.stderr
        return [" ".join(line.split()[i] for i in (1, 4)) for line in result.stdout.splitlines()]

    assert asked("client") == ["7 203.0.113.81"]  # maxTTL of the lab's own resolver
    assert asked("eu") == ["60 203.0.113.81"]
    assert asked("us") == ["600 203.0.113.81"]  # the first of its two name servers isn't there
    assert "status: SERVFAIL" in user.run("exec", "us", "--", "dig", "gone.moving.test").stdout

    poison = ("dns", "poison", "www.moving.test", "203.0.113.99", "--at")
    result = user.run(*poison, "resolver-eu", "--ttl", "30")
    assert result.stdout == "resolver-eu: www.moving.test is 203.0.113.99 for 30 s\n", result
    assert [one.split()[1] for one in asked("eu")] == ["203.0.113.99"]
    assert [one.split()[1] for one in asked("us")] == ["203.0.113.81"]
    dump = json.loads(user.run("dns", "dump", "www.moving.test", "--at", "resolver-eu", "-o", "json").stdout)
    assert {(e["place"], e["poisoned"], *e["answers"]) for e in dump} == {
        ("resolver-eu", True, "A 203.0.113.99")
    }
    trace = user.run("trace", "--from", "eu", "http://www.moving.test/", "--timeout", "1").stdout
    assert "203.0.113.99, TTL" in trace and "from the cache" in trace and "resolver-eu" in trace

    assert "flushed" in user.run("dns", "flush", "www.moving.test", "--at", "resolver-eu").stdout
    assert asked("eu") == ["60 203.0.113.81"]


def test_what_is_asked_wrongly_is_told(user: User) -> None:
    user.up()
    long = "x" * 64
    for arguments, status, said in (
        ("poison a.test 1.2.3.4", 2, "dns poison needs --at PLACE"),
        ("poison a.test 1.2.3 --at resolver", 2, "'1.2.3' is no IP address"),
        ("poison a.test --at resolver", 2, "dns poison takes NAME ADDRESS"),
        ("flush a.test --ttl 3", 2, "--ttl is of dns poison alone"),
        ("dump --at client", 1, "client has no DNS cache; those that have one are resolver, coredns"),
        (f"flush {long}.test", 1, "is no DNS name"),
        ("flush a..test", 1, "is no DNS name"),
    ):
        result = user.run("dns", *arguments.split())
        assert result.returncode == status and said in result.stderr, result
        assert result.stderr.count("\n") == 1

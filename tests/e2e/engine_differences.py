"""What an ingress of another engine does otherwise than emulab's own, and why: the tests of behaviour look it up here.

A difference that has gone away fails, too: what stands here is what is expected.
"""

from __future__ import annotations

import json
from typing import TypeVar

T = TypeVar("T")

DIFFERENCES: dict[tuple[str, str], tuple[object, str]] = {
    ("nginx", "connections that are kept when a certificate changes"): (
        False,
        "ingress-nginx changes certificates by its own code; nginx has to be reloaded, which closes idle connections",
    ),
    ("nginx", "who refused a request"): (
        False,
        "nginx' access log, which is what there is to tell of it, has the status and not who wished it",
    ),
    ("nginx", "the escaped way back from where clients sign in"): (
        False,
        "Debian's nginx lacks the directive that escapes it (`set_escape_uri` of a module of OpenResty)",
    ),
    ("nginx", "answers that are kept of a service that is asked"): (
        401,
        "the engine asks about each request: nginx' own cache would have to be a folder of its own",
    ),
    ("nginx", "a scheme that is there several times"): (
        "https",
        "before 1.23, such as Debian's 1.22, it looks at the first of several fields with one name",
    ),
    ("nginx", "a host that is there several times"): ("a.test", "as of a scheme"),
    ("nginx", "several challenges of a service that is asked"): (
        "Bearer",
        "before 1.23, such as Debian's 1.22, it looks at the first of several fields with one name",
    ),
    ("haproxy", "who refused a request"): (False, "as nginx: its log has the status"),
    ("haproxy", "lines of the error log for who is refused"): (
        False,
        "HAProxy has no error log but for what is wrong with its configuration",
    ),
    ("haproxy", "connections that are kept when a certificate changes"): (False, "as nginx"),
    ("haproxy", "length of a body that came in chunks"): (
        [],
        "HAProxy waits for a body, and sends it in chunks again",
    ),
    ("haproxy", "status of a server whose address nobody has"): (
        502,
        "HAProxy tells what refuses a connection and what doesn't answer by one status",
    ),
    ("haproxy", "fields after the body of a request over HTTP/2"): ("status 200", "HAProxy passes them on"),
    ("haproxy", "HTTP where TLS is spoken"): (b"", "HAProxy closes, whatever isn't TLS"),
    ("nginx", "HTTP/2 without TLS"): (
        False,
        "Debian's nginx 1.22 has it at sockets that speak nothing else; from 1.25 on it looks for the preface",
    ),
}
"""By engine and what it is about: what there is, and the reason."""


def served_by(engine: str) -> str:
    """A Cluster whose ingress is this program."""
    spec = {"ingress": {"engine": engine}}
    cluster = {"apiVersion": "emulab.dev/v1", "kind": "Cluster", "metadata": {"name": engine}, "spec": spec}
    return json.dumps(cluster) + "\n---\n"


def expected(engine: str, about: str, usual: T) -> T:
    """What is expected of an engine, where `usual` is what the others do."""
    there, _ = DIFFERENCES.get((engine, about), (usual, ""))
    assert isinstance(there, type(usual))
    return there

"""Descriptions, hints, logs' ends: what is printed besides tables."""

from __future__ import annotations

import io

import pytest

from emulab.cli.kinds import Reference, find, not_found
from emulab.cli.output.description import render
from emulab.cli.output.formats import as_list, document
from emulab.cli.output.hints import hints
from emulab.kinds.emulab.cluster import MODES
from emulab.lab.client.logfiles import tail_offset
from emulab.model.families import IPV4
from emulab.plan.proxy import modes


def test_fields_align_and_nest() -> None:
    text = render([("A", "1"), ("Longer", ["2", "3"]), ("Nested", [("B", "4")]), ("Empty", [])])
    assert text.splitlines() == [
        "A:       1",
        "Longer:  2",
        "         3",
        "Nested:",
        "  B:  4",
        "Empty:   <none>",
    ]


PLACES = ["client", "worker-a", "kube-system.coredns-1", "default.web-1"]
NODES = [{"metadata": {"name": "worker-a"}}]
RULES = {name: mode.shown_by(IPV4) for name, mode in modes.MODES.items()}


def test_hints_are_commands_for_this_very_lab() -> None:
    rule = {"host": "*.a.b", "http": {"paths": [{"path": "/x(.*)"}, {"path": "/y"}]}}
    found = hints("default", [{"metadata": {}, "spec": {"rules": [rule]}}], NODES, PLACES, RULES["nftables"])
    assert found[0] == "emulab exec client -- curl -s http://www.a.b/y"
    assert "emulab exec pod/web-1 -- cat /etc/resolv.conf" in found
    assert "emulab exec worker-a -- nft list table ip kube-proxy" in found
    assert 3 <= len(found) <= 5
    assert "emulab exec worker-a -- iptables-save -t nat" in hints(
        "default", [], NODES, PLACES, RULES["iptables"]
    )
    assert RULES.keys() == {*MODES["proxy.mode"]}
    assert all(h.startswith("emulab -l other ") for h in hints("other", [], NODES, PLACES, RULES["nftables"]))


def test_hints_speak_tls_where_the_ingress_does() -> None:
    spec = {"rules": [{"host": "a.b"}], "tls": [{"hosts": ["a.b"]}]}
    assert hints("default", [{"metadata": {}, "spec": spec}], NODES, PLACES, RULES["nftables"])[0].endswith(
        "curl -s -k https://a.b/"
    )


@pytest.mark.parametrize(
    ("text", "lines", "rest"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\n", 5, b"a\n"),
        (b"", 3, b""),
        (b"a\n", 0, b""),
    ],
)
def test_the_last_lines_of_a_log(text: bytes, lines: int, rest: bytes) -> None:
    assert text[tail_offset(io.BytesIO(text), lines) :] == rest


def test_the_last_lines_of_a_long_log() -> None:
    log = b"".join(b"%07d\n" % n for n in range(50_000))
    assert log[tail_offset(io.BytesIO(log), 20_000) :].startswith(b"0030000\n")


def test_documents() -> None:
    assert document(as_list([]), "json").startswith("{")
    assert "kind: List" in document(as_list([]), "yaml")
    assert (
        not_found(Reference(find("deploy"), "x"))
        == 'Error from server (NotFound): deployments.apps "x" not found'
    )

"""Descriptions, hints, logs' ends: what is printed besides tables."""

from __future__ import annotations

import io
from typing import Any

import pytest

from emulab.cli.kinds import Reference, find, not_found
from emulab.cli.output.description import describe, endpoints, probe_text, render
from emulab.cli.output.hints import hints
from emulab.cli.verbs.get import as_list, document
from emulab.cli.verbs.logs import tail_offset
from emulab.kinds.schema_emulab import MODES
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


SLICE = {
    "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
    "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9090}],
    "endpoints": [
        {"addresses": ["10.244.1.2"], "conditions": {"ready": True}},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": False}},
    ],
}


def test_endpoints_are_the_ready_ones_of_the_port() -> None:
    assert endpoints("web", {"name": "http", "port": 80}, [SLICE]) == "10.244.1.2:8080"
    assert endpoints("web", {"name": "other", "port": 80}, [SLICE]) == "<none>"
    assert endpoints("other", None, [SLICE]) == "<none>"


def test_a_service_names_its_endpoints() -> None:
    spec = {"clusterIP": "10.96.0.1", "ports": [{"name": "http", "port": 80, "targetPort": "web"}]}
    text = describe({"kind": "Service", "metadata": {"name": "web"}, "spec": spec}, [SLICE])
    assert "TargetPort:               web/TCP" in text
    assert "Endpoints:                10.244.1.2:8080" in text


def test_an_ingress_names_its_backends() -> None:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rules = [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    text = describe({"kind": "Ingress", "metadata": {"name": "x"}, "spec": {"rules": rules}}, [SLICE])
    assert "  a.b:  / (Prefix)  web:80 (10.244.1.2:8080,10.244.1.2:9090)" in text


def test_a_pod_shows_its_containers_but_a_secret_no_values() -> None:
    container = {"name": "c", "command": ["sleep", "9"], "env": [{"name": "A", "value": "b"}]}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    statuses = [{"name": "c", "state": state, "restartCount": 3}]
    pod = {
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [container]},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }
    text = describe(pod, [])
    assert "Status:          CrashLoopBackOff" in text
    assert "A: b" in text
    secret = {"kind": "Secret", "metadata": {"name": "x"}, "stringData": {"key": "hidden"}}
    assert "hidden" not in describe(secret, [])


@pytest.mark.parametrize(
    ("probe", "start"),
    [
        ({"httpGet": {"path": "/h", "port": 80}}, "http-get http://:80/h delay=0s timeout=1s period=10s"),
        ({"tcpSocket": {"port": "db"}, "periodSeconds": 3}, "tcp-socket :db delay=0s timeout=1s period=3s"),
        ({"exec": {"command": ["true"]}}, "exec ['true']"),
    ],
)
def test_probes(probe: dict[str, Any], start: str) -> None:
    assert probe_text(probe).startswith(start)


@pytest.mark.parametrize(
    "kind", ["Pod", "Service", "Ingress", "EndpointSlice", "Deployment", "Node", "Zone", "ConfigMap"]
)
def test_a_bare_object_can_be_described(kind: str) -> None:
    assert describe({"kind": kind, "metadata": {"name": "x"}, "spec": {}}, []).startswith("Name:")


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
    assert RULES.keys() == MODES["proxy.mode"].keys()
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

"""What a kernel lacks is said before anything is made of what asks for it, whichever of it comes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from emulab.errors import EmulabError
from emulab.kernel import networkneeds, probe
from emulab.lab.supervisor.kernellacks import lack_of
from emulab.model.collection import Objects
from emulab.model.objects import Object, Position


def _object(api: str, kind: str, spec: dict[str, Any], annotations: dict[str, str]) -> Object:
    metadata = {
        "name": "one",
        "annotations": annotations,
        **({"namespace": "default"} if kind == "Service" else {}),
    }
    return Object({"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec})


def cluster(**proxy: str) -> Object:
    return _object("emulab.dev/v1", "Cluster", {"network": {"plugin": "kube-router"}, "proxy": proxy}, {})


def direct(**said: str) -> Object:
    spec = {"externalIPs": ["203.0.113.7"], "ports": [{"port": 80}]}
    return _object("v1", "Service", spec, {"kube-router.io/service.dsr": "tunnel", **said})


@pytest.fixture(autouse=True)
def _kernel_without_ipip(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise EmulabError("the kernel has no IP in IP")

    ipip = networkneeds.NEEDS["ipip"]
    monkeypatch.setitem(networkneeds.NEEDS, "ipip", ipip._replace(attempt=fails))
    monkeypatch.setattr(probe, "lack_of", lambda *_: "")


def test_a_cluster_that_comes_later_is_asked_of_the_services_that_are_there() -> None:
    lack = "kube-router.io/service.dsr can't work here: the kernel has no IP in IP; "
    own, nftables = cluster(), cluster(mode="nftables")
    assert lack_of([own, direct()], Objects([]), False).startswith(lack)
    assert lack_of([own], Objects([nftables, direct()]), True).startswith(lack)
    assert lack_of([direct()], Objects([own]), True).startswith(lack)
    for given, there in (
        ([nftables], [own, direct()]),
        ([direct()], [nftables]),
        ([own, direct(**{"kube-router.io/service.dsr": "none"})], [nftables, direct()]),
    ):
        assert lack_of(given, Objects(there), True) == ""


def test_pools_that_are_there_are_heeded_with_a_new_cluster() -> None:
    calico = _object("emulab.dev/v1", "Cluster", {"network": {"plugin": "calico"}}, {})
    spec = {"cidr": "10.244.0.0/16", "ipipMode": "Always"}
    pool = replace(_object("projectcalico.org/v3", "IPPool", spec, {}), position=Position("a.yaml", 1))
    lack = "network mode ipip can't work here: the kernel has no IP in IP; "
    for given, there in (([calico, pool], []), ([pool], [calico]), ([calico], [pool])):
        assert lack_of(given, Objects(there), bool(there)).startswith(lack)
    assert lack_of([calico], Objects([calico, pool]), True) == ""

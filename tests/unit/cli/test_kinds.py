"""The words by which a command line means kinds, and the tables that it prints."""

from __future__ import annotations

import pytest

from emulab.cli.kinds import find, find_all, references
from emulab.cli.output.table import table
from emulab.cli.usage import UsageError


def test_a_table() -> None:
    assert table(["A", "LONG"], [["wide cell", "b"], ["c", ""]]) == "A           LONG\nwide cell   b\nc"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("po", "Pod"),
        ("pod", "Pod"),
        ("PODS", "Pod"),
        ("svc", "Service"),
        ("ing", "Ingress"),
        ("ep", "Endpoints"),
        ("endpointslices", "EndpointSlice"),
        ("deploy", "Deployment"),
        ("deployments.apps", "Deployment"),
        ("deployment.apps", "Deployment"),
        ("Deployment", "Deployment"),
        ("deploy.apps", "Deployment"),
        ("deployments.v1.apps", "Deployment"),
        ("ev", "Event"),
        ("events.events.k8s.io", "Event"),
        ("ev.v1.events.k8s.io", "Event"),
        ("rs", "ReplicaSet"),
        ("sts", "StatefulSet"),
        ("ds", "DaemonSet"),
        ("no", "Node"),
        ("ns", "Namespace"),
        ("cm", "ConfigMap"),
        ("netpol", "NetworkPolicy"),
        ("ingressclass", "IngressClass"),
        ("secrets", "Secret"),
        ("clusters", "Cluster"),
        ("lb", "LoadBalancer"),
        ("clients", "Client"),
        ("zones", "Zone"),
    ],
)
def test_names_of_kinds(name: str, kind: str) -> None:
    assert find(name).kind == kind


@pytest.mark.parametrize("name", ["", ".apps", "deployments.batch", "pods.apps", "deployments.v2.apps"])
def test_what_is_no_name_of_a_kind(name: str) -> None:
    with pytest.raises(UsageError):
        find(name)


def test_a_kind_like_no_other_is_told_where_kinds_are_listed() -> None:
    with pytest.raises(UsageError, match="there is no kind 'foo'; `emulab api-resources` lists them"):
        find("foo")


def test_lists_of_kinds() -> None:
    assert [k.kind for k in find_all("po,svc,pods")] == ["Pod", "Service"]
    everything = [
        "Pod",
        "ReplicationController",
        "Service",
        "DaemonSet",
        "Deployment",
        "ReplicaSet",
        "StatefulSet",
    ]
    everything += ["HorizontalPodAutoscaler", "CronJob", "Job"]  # as kubectl's category has them
    assert [k.kind for k in find_all("all")] == everything
    with pytest.raises(UsageError):
        find_all("po,,svc")


def test_references() -> None:
    def told(*words: str) -> list[tuple[str, str]]:
        return [(r.kind.kind, r.name) for r in references(list(words))]

    assert told("po") == [("Pod", "")]
    assert told("po", "a", "b") == [("Pod", "a"), ("Pod", "b")]
    assert told("po/a", "svc/b") == [("Pod", "a"), ("Service", "b")]

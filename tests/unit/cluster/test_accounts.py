"""What a Pod names and a cluster refuses it without: its account and its classes."""

from __future__ import annotations

import pytest
from lab_objects import obj
from manifest_texts import WORKLOAD, accepted, described, patched

from emulab.cluster.admission.crosscheck import warnings
from emulab.kinds.core.accounts import account_of
from emulab.model.collection import Objects


@pytest.mark.parametrize(
    ("field", "name", "kind", "namespace"),
    [
        ("serviceAccountName", "bot", "ServiceAccount", "shop"),
        ("serviceAccount", "bot", "ServiceAccount", "shop"),
        ("priorityClassName", "high", "PriorityClass", ""),
        ("runtimeClassName", "gvisor", "RuntimeClass", ""),
    ],
)
def test_names_of_accounts_and_classes_that_lead_nowhere(
    field: str, name: str, kind: str, namespace: str
) -> None:
    raw = described("Deployment", patched(WORKLOAD, f"template.spec.{field}", name))
    raw["metadata"]["namespace"] = "shop"
    (o,) = accepted(raw)
    home = [o, obj("Namespace", "shop", "")]
    place = f"{namespace}/{name}" if namespace else name
    assert warnings([o], Objects(home)) == [
        f"shop.yaml:1: Deployment/web spec.template.spec.{field}: there is no {kind} {place}:"
        " a cluster refuses Pods that name it"
    ]
    assert warnings([o], Objects([*home, obj(kind, name, namespace)])) == []
    assert len(warnings([o], Objects([*home, obj(kind, name, "elsewhere" if namespace else ""), o]))) == bool(
        namespace
    )


def test_accounts_of_a_clusters_own_namespace_are_its_own() -> None:
    raw = described("Deployment", patched(WORKLOAD, "template.spec.serviceAccountName", "kube-proxy"))
    raw["metadata"]["namespace"] = "kube-system"
    (o,) = accepted(raw)
    assert warnings([o], Objects([o])) == []


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("serviceAccountName", "default"),
        ("priorityClassName", "system-node-critical"),
        ("serviceAccount", ""),
    ],
)
def test_what_a_cluster_has_by_itself(field: str, name: str) -> None:
    (o,) = accepted(described("Deployment", patched(WORKLOAD, f"template.spec.{field}", name)))
    assert warnings([o], Objects([o])) == []


def test_the_older_name_of_the_account() -> None:
    assert account_of({}) == "default"
    assert account_of({"serviceAccount": "old"}) == "old"
    assert account_of({"serviceAccount": "old", "serviceAccountName": "bot"}) == "bot"

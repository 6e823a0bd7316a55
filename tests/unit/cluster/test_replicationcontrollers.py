"""ReplicationControllers: ReplicaSets with a plain mapping for a selector."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store, make, node, template
from manifest_texts import POD, accepted, described, refused, warned

from emulab.cluster.admission.merge import merge
from emulab.model.selectors import label_selector_of

TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"app": "web"}}, "spec": POD}
SELECTOR = {"app": "web"}


def test_it_makes_its_pods_and_tells_how_many_are_ready() -> None:
    spec = {"replicas": 2, "selector": SELECTOR, "template": template()}
    store = Store(node("node1"), node("node2"), make("ReplicationController", "web", spec=spec))
    store.converge()
    pods = store.pods()
    assert len(pods) == 2 and all(pod.name.startswith("web-") for pod in pods)
    (owner,) = pods[0].metadata["ownerReferences"]
    assert (owner["apiVersion"], owner["kind"], owner["controller"]) == ("v1", "ReplicationController", True)
    status = store.get("ReplicationController", "web").status
    assert (status["replicas"], status["readyReplicas"], status["fullyLabeledReplicas"]) == (2, 2, 2)
    assert {tell.component for tell in store.told if tell.about.name == "web"} >= {"replication-controller"}
    store.put(make("ReplicationController", "web", spec={**spec, "replicas": 1}))
    store.converge()
    assert len(store.pods()) == 1


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({}, "spec.template: is required"),
        ({"template": {"spec": POD}}, "spec.selector: is required"),
        (
            {"selector": {"app": "db"}, "template": TEMPLATE},
            "spec.template.metadata.labels: `selector` does not match template `labels`",
        ),
        (
            {"selector": {"matchLabels": SELECTOR}, "template": TEMPLATE},
            "spec.selector.matchLabels: a mapping is not a string",
        ),
        ({"replicas": -1, "template": TEMPLATE}, "spec.replicas: -1 is not a number of 0 or more"),
    ],
)
def test_what_it_may_not_say(spec: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in refused(described("ReplicationController", spec)))


def test_what_is_not_said_is_the_template_s() -> None:
    (o,) = accepted(described("ReplicationController", {"template": TEMPLATE}))
    made = merge(None, o)
    assert made.spec["selector"] == SELECTOR and made.labels == SELECTOR
    scaled = made.replace(spec={**made.spec, "replicas": 5})
    again = merge(scaled, o)
    assert again.spec["selector"] == SELECTOR and again.spec["replicas"] == 5


def test_a_service_finds_its_pods() -> None:
    service = described("Service", {"selector": SELECTOR, "ports": [{"port": 80}]})
    assert warned(described("ReplicationController", {"template": TEMPLATE}), service) == []


def test_one_form_of_selectors() -> None:
    assert label_selector_of({"selector": SELECTOR}) == {"matchLabels": SELECTOR}
    assert label_selector_of({"selector": {"matchLabels": SELECTOR}}) == {"matchLabels": SELECTOR}
    assert label_selector_of({}) == {}

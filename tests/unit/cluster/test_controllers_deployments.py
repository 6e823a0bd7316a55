"""Deployments and ReplicaSets: names, rollouts within their bounds, history, statuses, victims."""

from __future__ import annotations

import re

import pytest
from controllers_store import Store, conditions, images, make, names, node, service, template, workload
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from emulab.cluster.controllers import next_due, reconcile
from emulab.cluster.controllers.names import template_hash
from emulab.cluster.controllers.pods import share
from emulab.model.collection import Delete, Put, PutStatus

NODES = (node("node1"), node("node2"))
SAFE = "[bcdfghjklmnpqrstvwxz2456789]"
ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def shop(replicas: int = 3, **spec: object) -> Store:
    store = Store(*NODES, workload("Deployment", "web", replicas, **spec))
    store.converge()
    return store


def status(store: Store, kind: str = "Deployment", name: str = "web") -> dict[str, object]:
    return dict(store.get(kind, name).status)


def test_a_fresh_deployment_is_pods_on_nodes_with_slices_after_one_call() -> None:
    store = Store(*NODES, workload("Deployment", "web", 3), service("web"))
    assert store.settle() == 1
    assert [pod.spec["nodeName"] for pod in store.pods()] == ["node1", "node2", "node1"]
    assert len(store.all("EndpointSlice")) == 1
    assert status(store)["unavailableReplicas"] == 3


def test_names_labels_owners() -> None:
    store = shop()
    (rs,) = store.all("ReplicaSet")
    hashed = rs.labels["pod-template-hash"]
    assert re.fullmatch(SAFE + "{10}", hashed) and rs.name == f"web-{hashed}"
    assert rs.spec["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": hashed}
    (owner,) = rs.metadata["ownerReferences"]
    assert owner["controller"] is True and owner["uid"] == store.get("Deployment", "web").metadata["uid"]
    for pod in store.pods():
        assert re.fullmatch(f"{rs.name}-{SAFE}{{5}}", pod.name)
        assert pod.labels == {"app": "web", "pod-template-hash": hashed}
        assert pod.metadata["ownerReferences"][0]["uid"] == rs.metadata["uid"]
    assert len({pod.metadata["uid"] for pod in store.pods()}) == 3


def test_pods_share_the_templates_spec_until_they_are_bound() -> None:
    store = Store(workload("Deployment", "web", 2))  # no node: nothing is bound
    store.settle()
    (rs,) = store.all("ReplicaSet")
    first, second = store.pods()
    assert first.spec is second.spec is rs.spec["template"]["spec"]


def test_status_of_a_complete_rollout() -> None:
    store = shop()
    have = status(store)
    assert {k: v for k, v in have.items() if k != "conditions"} == {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
    }
    assert conditions(store.get("Deployment", "web")) == {"Available": "True", "Progressing": "True"}
    assert store.get("Deployment", "web").annotations == {"deployment.kubernetes.io/revision": "1"}
    (rs,) = store.all("ReplicaSet")
    assert rs.status["fullyLabeledReplicas"] == rs.status["availableReplicas"] == 3


def test_same_input_gives_same_names_and_nodes() -> None:
    def picture() -> list[tuple[str, str]]:
        return [(pod.name, pod.spec["nodeName"]) for pod in shop(5).pods()]

    assert picture() == picture()


def test_a_template_hash_does_not_depend_on_the_order_of_keys() -> None:
    pods = template()
    assert template_hash(pods) == template_hash(dict(reversed(pods.items())))
    assert template_hash(pods) != template_hash(template(image="v2"))
    assert template_hash(pods) != template_hash(pods, 1)


def test_a_strangers_replicaset_of_the_same_name_is_left_alone() -> None:
    hashed = template_hash(template("web"))
    stranger = workload("ReplicaSet", f"web-{hashed}", 0)
    store = Store(*NODES, stranger, workload("Deployment", "web", 1))
    store.converge()
    assert len(store.all("ReplicaSet")) == 2 and len(store.pods()) == 1
    assert "ownerReferences" not in store.get("ReplicaSet", f"web-{hashed}").metadata


@pytest.mark.parametrize(
    ("value", "total", "up", "expected"),
    [("25%", 10, True, 3), ("25%", 10, False, 2), ("0%", 5, True, 0), ("100%", 7, False, 7), (2, 9, True, 2)],
)
def test_percentages_round_as_asked(value: int | str, total: int, up: bool, expected: int) -> None:
    assert share(value, total, up=up) == expected


def test_no_surge_and_no_unavailability_still_moves() -> None:
    still = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "10%"}}
    store = shop(3, strategy=still)
    store.edit("Deployment", "web", template=template("web", "v2"))
    store.converge()
    assert images(store.pods()) == {"v2"}


def test_an_update_waits_for_readiness() -> None:
    store = shop(3, strategy=ROLLING)
    store.edit("Deployment", "web", template=template("web", "v2"))
    store.settle()
    store.kubelet(start=lambda pod: False)
    store.settle()
    assert sorted(len([p for p in store.pods() if images([p]) == {v}]) for v in ("v1", "v2")) == [1, 3]
    assert status(store)["updatedReplicas"] == 1
    store.converge()
    assert images(store.pods()) == {"v2"} and len(store.pods()) == 3
    assert store.get("Deployment", "web").annotations["deployment.kubernetes.io/revision"] == "2"


ROLLOUTS = st.fixed_dictionaries(
    {
        "replicas": st.integers(0, 7),
        "surge": st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "50%", "100%"])),
        "unavailable": st.one_of(st.integers(0, 4), st.sampled_from(["0%", "25%", "50%", "100%"])),
    }
)


@examples(12)
@given(ROLLOUTS, st.randoms(use_true_random=False), st.booleans())
def test_a_rolling_update_keeps_its_bounds(case: dict[str, object], random: object, graceful: bool) -> None:
    """Never fewer Ready Pods than allowed and never more Pods, however slowly they start and end."""
    replicas = int(str(case["replicas"]))
    rolling = {"maxSurge": case["surge"], "maxUnavailable": case["unavailable"]}
    store = shop(replicas, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    store.graceful = graceful
    surge = share(case["surge"], replicas, up=True)  # type: ignore[arg-type]
    down = share(case["unavailable"], replicas, up=False)  # type: ignore[arg-type]
    down = min(replicas, down if surge or down else 1)
    for image in ("v2", "v3"):  # the second one comes while the first is under way
        store.edit("Deployment", "web", template=template("web", image))
        for _ in range(random.randrange(1, 5) if image == "v2" else 80):  # type: ignore[attr-defined]
            store.step()
            assert len(store.pods()) <= replicas + surge
            assert len(store.ready()) >= replicas - down
            lucky = lambda _: random.random() < 0.6  # type: ignore[attr-defined]  # noqa: E731
            store.kubelet(start=lucky, end=random.random() < 0.7)  # type: ignore[attr-defined]
    store.converge()
    assert len(store.pods()) == replicas and images(store.pods()) <= {"v3"}


@examples(40)
@given(
    st.lists(st.tuples(st.sampled_from(["scale", "image", "run", "kill"]), st.integers(0, 6)), max_size=12)
)
def test_any_history_ends_in_a_fixpoint_as_asked(events: list[tuple[str, int]]) -> None:
    store = shop(2)
    for event, number in events:
        if event == "scale":
            store.edit("Deployment", "web", replicas=number)
        elif event == "image":
            store.edit("Deployment", "web", template=template("web", f"v{number}"))
        elif event == "run":
            store.kubelet(start=lambda pod, n=number: sum(map(ord, pod.name)) % 7 <= n)
        elif pods := store.pods():
            store.delete(pods[number % len(pods)].key)
        store.settle()
    store.converge()
    deployment = store.get("Deployment", "web")
    assert len(store.pods()) == deployment.spec["replicas"] == deployment.status.get("availableReplicas", 0)
    assert images(store.pods()) <= images([make("Pod", "x", spec=deployment.spec["template"]["spec"])])
    assert reconcile(store.snapshot(), store.now) == []


def test_recreate_waits_until_the_last_old_pod_is_gone() -> None:
    store = shop(2, strategy={"type": "Recreate"})
    store.edit("Deployment", "web", template=template("web", "v2"))
    store.settle()
    assert store.pods() == [] and len(store.all("Pod")) == 2
    store.kubelet()
    store.settle()
    assert images(store.pods()) == {"v2"} and len(store.pods()) == 2


def test_paused_scales_but_does_not_roll_out() -> None:
    store = shop(2)
    store.edit("Deployment", "web", paused=True, replicas=4, template=template("web", "v2"))
    store.converge()
    assert len(store.pods()) == 4 and images(store.pods()) == {"v1"}
    assert conditions(store.get("Deployment", "web"))["Progressing"] == "Unknown"
    store.edit("Deployment", "web", paused=False)
    store.converge()
    assert images(store.pods()) == {"v2"}


def test_scaling_during_a_rollout_is_shared_out_in_proportion() -> None:
    half = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    store = shop(10, strategy=half)
    store.edit("Deployment", "web", template=template("web", "v2"))
    store.settle()  # 8 old ones and 5 new ones that never start
    sizes = {rs.spec["template"]["spec"]["containers"][0]["image"]: rs for rs in store.all("ReplicaSet")}
    assert {image: rs.spec["replicas"] for image, rs in sizes.items()} == {"v1": 8, "v2": 5}
    store.edit("Deployment", "web", replicas=15)
    store.settle()  # as in the documentation of Deployments: 13 become 18, 3 of the 5 go to the larger one
    sizes = {rs.spec["template"]["spec"]["containers"][0]["image"]: rs for rs in store.all("ReplicaSet")}
    assert {image: rs.spec["replicas"] for image, rs in sizes.items()} == {"v1": 11, "v2": 7}


def test_shrinking_during_a_rollout_keeps_enough_ready_pods() -> None:
    half = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
    store = shop(10, strategy=half)
    store.edit("Deployment", "web", template=template("web", "v2"))
    store.settle()
    store.edit("Deployment", "web", replicas=4)  # 8 Ready old ones shall become 4 and must not count as 8
    store.settle()
    assert len(store.ready()) == 2 and len(store.pods()) <= 7


def test_a_change_of_min_ready_seconds_is_no_rollout() -> None:
    store = shop(1)
    store.edit("Deployment", "web", minReadySeconds=5)
    store.settle()
    (rs,) = store.all("ReplicaSet")
    assert rs.spec["minReadySeconds"] == 5


def test_a_rollback_takes_the_old_replicaset_up_again() -> None:
    store = shop(2)
    (first,) = names(store.all("ReplicaSet"))
    store.edit("Deployment", "web", template=template("web", "v2"))
    store.converge()
    store.edit("Deployment", "web", template=template("web"))
    store.converge()
    assert len(store.all("ReplicaSet")) == 2
    assert store.get("ReplicaSet", first).annotations["deployment.kubernetes.io/revision"] == "3"
    assert images(store.pods()) == {"v1"}


def test_history_is_kept_up_to_the_limit() -> None:
    store = shop(1, revisionHistoryLimit=2)
    for number in range(2, 7):
        store.edit("Deployment", "web", template=template("web", f"v{number}"))
        store.converge()
    kept = [rs.spec["template"]["spec"]["containers"][0]["image"] for rs in store.all("ReplicaSet")]
    assert kept == ["v4", "v5", "v6"]


def test_min_ready_seconds_delay_availability() -> None:
    store = shop(1, minReadySeconds=30)
    assert "availableReplicas" not in status(store) and status(store)["readyReplicas"] == 1
    assert next_due(store.snapshot(), store.now) == store.now + 30
    store.now += 30
    store.settle()
    assert status(store)["availableReplicas"] == 1


def test_a_stuck_rollout_is_reported_after_its_deadline() -> None:
    store = shop(1, progressDeadlineSeconds=60)
    store.edit("Deployment", "web", template=template("web", "v2"))
    store.settle()
    assert next_due(store.snapshot(), store.now) == store.now + 60
    store.now += 61
    store.settle()
    (condition,) = [c for c in status(store)["conditions"] if c["type"] == "Progressing"]  # type: ignore[attr-defined]
    assert (condition["status"], condition["reason"]) == ("False", "ProgressDeadlineExceeded")
    store.converge()
    assert conditions(store.get("Deployment", "web"))["Progressing"] == "True"


def test_an_ending_pod_is_replaced_and_not_deleted_again() -> None:
    store = shop(2)
    victim = store.pods()[0]
    store.delete(victim.key)
    store.settle()
    assert len(store.pods()) == 2 and len(store.all("Pod")) == 3
    assert not [c for calls in store.seen for c in calls if isinstance(c, Delete)]


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_an_ended_pod_is_replaced(phase: str) -> None:
    store = Store(*NODES, workload("ReplicaSet", "bare", 2))
    store.converge()
    pod = store.pods()[0]
    store.put(pod.replace(status={**pod.status, "phase": phase}))
    store.converge()
    assert len(store.ready()) == 3 and store.get("ReplicaSet", "bare").status["replicas"] == 2


def _crowd(*pods: tuple[str, dict[str, object]]) -> Store:
    """A ReplicaSet with these Pods: name → node, phase, ready, age in seconds, deletion cost."""
    store = Store(*NODES, workload("ReplicaSet", "rs", len(pods)))
    owner = {"controller": True, "uid": store.get("ReplicaSet", "rs").metadata["uid"]}
    for name, facts in pods:
        ready = str(facts.get("ready", True))
        since = f"2023-11-14T{21 - int(str(facts.get('age', 0))):02}:00:00Z"
        metadata = {
            "labels": {"app": "rs"},
            "ownerReferences": [owner],
            "creationTimestamp": since,
            "uid": name,
        }
        if "cost" in facts:
            metadata["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": str(facts["cost"])}
        where = {"nodeName": facts.get("node", "node1")} if facts.get("node", "node1") else {}
        condition = {"type": "Ready", "status": ready, "lastTransitionTime": since}
        state = {"phase": facts.get("phase", "Running"), "conditions": [condition]}
        store.put(make("Pod", name, metadata=metadata, spec=where, status=state))
    return store


@pytest.mark.parametrize(
    ("stays", "goes"),
    [
        ({}, {"node": ""}),
        ({}, {"phase": "Pending"}),
        ({"ready": False, "phase": "Running"}, {"phase": "Pending"}),
        ({"cost": -5}, {"ready": False}),
        ({"cost": 10}, {"cost": -1, "age": 9}),
        ({"age": 15}, {"age": 0}),
    ],
)
def test_victims_are_ranked_as_kubernetes_ranks_them(
    stays: dict[str, object], goes: dict[str, object]
) -> None:
    for order in (["a", "z"], ["z", "a"]):  # by name and uid either could come first
        store = _crowd((order[0], stays), (order[1], goes))
        store.edit("ReplicaSet", "rs", replicas=1)
        changes = reconcile(store.snapshot(), store.now)
        assert [c.key.name for c in changes if isinstance(c, Delete)] == [order[1]]


def test_victims_come_from_the_fuller_node() -> None:
    store = _crowd(("a", {"node": "node2", "age": 0}), ("b", {"age": 5}), ("c", {"age": 5}))
    store.edit("ReplicaSet", "rs", replicas=2)
    changes = reconcile(store.snapshot(), store.now)
    assert [c.key.name for c in changes if isinstance(c, Delete)] == ["b"]


def test_one_call_tells_each_object_once() -> None:
    store = Store(*NODES, workload("Deployment", "web", 3), service("web"))
    changes = reconcile(store.snapshot(), store.now)
    for kind in (Put, PutStatus):
        keys = [c.object.key if isinstance(c, Put) else c.key for c in changes if isinstance(c, kind)]
        assert len(keys) == len(set(keys)) > 3, kind
    assert "Deployment" in [c.key.kind for c in changes if isinstance(c, PutStatus)]

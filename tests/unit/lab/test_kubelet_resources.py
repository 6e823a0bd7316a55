"""What bounds pods and containers, as the kubelet computes it, and what their statuses say of it."""

from __future__ import annotations

from typing import Any

from emulab.kernel.cgroups.hierarchies import Hierarchies
from emulab.kernel.cgroups.limits import Limits
from emulab.lab.kubelet.podstatus import ContainerState, pod_status
from emulab.lab.kubelet.resources import MAX_PIDS, limits_of_container, limits_of_pod, shown, unenforced
from emulab.model.objects import Object

MIB = 1 << 20


def pod(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **more: Any) -> Object:
    spec: dict[str, Any] = {"containers": [{"name": f"c{n}", **c} for n, c in enumerate(containers)], **more}
    if init:
        spec["initContainers"] = [{"name": f"i{n}", **c} for n, c in enumerate(init)]
    return Object(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "d"}, "spec": spec}
    )


def given(limits: dict[str, Any] | None = None, requests: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"resources": {"limits": limits or {}, "requests": requests or {}}}


def test_a_container_is_bounded_by_its_limits_and_shares_by_its_requests() -> None:
    one = pod(given({"cpu": "500m", "memory": "64Mi"}, {"cpu": "0.25"}))
    assert limits_of_container(one, "c0") == Limits(64 * MIB, 50_000, 256, MAX_PIDS, True)
    assert limits_of_container(pod(given({"cpu": 2})), "c0").shares == 2048, "a limit is a request, too"
    assert limits_of_container(pod({}), "c0") == Limits(None, None, 2, MAX_PIDS, True)


def test_a_pod_is_bounded_where_all_its_containers_are() -> None:
    both = pod(given({"memory": "64Mi", "cpu": 1}), given({"memory": "32Mi"}, {"cpu": "100m"}))
    assert limits_of_pod(both) == Limits(96 * MIB, None, 1126, MAX_PIDS)
    assert limits_of_pod(pod(given({"memory": "64Mi"}), {})).memory is None
    assert limits_of_pod(pod({})) == Limits(None, None, 2, MAX_PIDS)


def test_init_containers_overhead_and_the_pods_own_resources_count() -> None:
    limit = given({"memory": "64Mi", "cpu": "100m"})
    large = pod(limit, init=(given({"memory": "256Mi", "cpu": "100m"}),), overhead={"memory": "8Mi"})
    assert limits_of_pod(large) == Limits(264 * MIB, 10_000, 102, MAX_PIDS)
    own = pod({}, limit, resources={"limits": {"memory": "512Mi"}, "requests": {"cpu": "1"}})
    assert limits_of_pod(own).memory == 512 * MIB
    assert limits_of_pod(own).shares == 1024
    assert limits_of_container(own, "c0").memory == 512 * MIB, "what has no limit has its pod's"
    assert limits_of_container(own, "c1").memory == 64 * MIB


def test_what_is_not_in_force_is_told_with_its_reason() -> None:
    nothing = Hierarchies(missing={"cpu": "no right", "memory": "no right", "pids": "no right"})
    one = pod(
        given({"memory": "64Mi"}, {"cpu": 1}), {}, given({"ephemeral-storage": "1Gi"}, {"memory": "1Mi"})
    )
    ((name, said),) = unenforced(one, nothing)
    assert name == "c0" and said.type == "Warning"
    assert said.message == (
        "cpu, memory of container c0 isn't bounded: cpu: no right; memory: no right (see emulab doctor)"
    )
    assert not list(unenforced(one, Hierarchies(tops=dict.fromkeys(("cpu", "memory", "pids"), "/"))))


def test_statuses_say_what_containers_were_given() -> None:
    one = pod(given({"memory": "64Mi"}), {}, init=(given(None, {"cpu": 1}),))
    states = [ContainerState(name, "image") for name in ("c0", "c1")]
    status = shown(pod_status(states, [ContainerState("i0", "image")], False), one.spec)
    assert status["qosClass"] == "Burstable"
    first, second = status["containerStatuses"]
    assert first["allocatedResources"] == {"memory": "64Mi"}
    assert first["resources"] == {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}
    assert second["resources"] == {} and "allocatedResources" not in second
    assert status["initContainerStatuses"][0]["resources"] == {"requests": {"cpu": "1"}}


def test_a_container_that_had_no_memory_says_so_until_its_next_end() -> None:
    state = ContainerState("c0", "image")
    state.ended(137, "now", failure="OOMKilled")
    state.done = True
    (told,) = pod_status([state], [], True)["containerStatuses"]
    assert told["state"]["terminated"] == {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "now"}
    state.ended(1, "then")
    (told,) = pod_status([state], [], True)["containerStatuses"]
    assert told["state"]["terminated"]["reason"] == "Error"

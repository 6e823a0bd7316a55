"""Pod status, probes' counting, environments, and when a lab is Ready: the lab's pure parts."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab_objects import conditions, obj, pod

from emulab.kinds.core.expansion import expand
from emulab.kinds.core.podspec import Container, PodSpec
from emulab.kinds.core.restarts import RestartPolicy
from emulab.kinds.core.serviceview import Service
from emulab.kinds.registry import CONFIG_MAP, SECRET
from emulab.lab.kubelet.backoff import Backoff
from emulab.lab.kubelet.environment.configs import texts
from emulab.lab.kubelet.environment.downward import downward_fields
from emulab.lab.kubelet.environment.variables import Sources, environment, service_links
from emulab.lab.kubelet.podstatus import ContainerState, identified, pod_status, stamped
from emulab.lab.kubelet.probes import ProbeCounter
from emulab.lab.kubelet.served import Served
from emulab.lab.supervisor.readiness import not_ready, waits_in_vain, why_not_ready
from emulab.model.collection import Objects


def state(**fields: Any) -> ContainerState:
    return ContainerState("c", "i", **fields)


RUNNING = {"running": True, "started": True, "ready": True}


@pytest.mark.parametrize(
    ("states", "phase", "ready"),
    [
        ([state()], "Pending", False),
        ([state(**RUNNING)], "Running", True),
        ([state(running=True)], "Running", False),
        ([state(**RUNNING), state()], "Running", False),
        ([state(exit_status=1)], "Running", False),
        ([state(done=True, exit_status=0)], "Succeeded", False),
        ([state(done=True, exit_status=0), state(done=True, exit_status=3)], "Failed", False),
        ([state(done=True, exit_status=0), state(**RUNNING)], "Running", False),
    ],
)
def test_phase_and_readiness(states: list[ContainerState], phase: str, ready: bool) -> None:
    found = pod_status(states, [], initialised=True)
    assert found["phase"] == phase
    told = {c["type"]: c["status"] for c in found["conditions"]}
    assert told == {
        "PodScheduled": "True",
        "Initialized": "True",
        "ContainersReady": str(ready),
        "Ready": str(ready),
    }


def test_before_the_init_containers_are_through() -> None:
    found = pod_status([state()], [], initialised=False)
    assert found["phase"] == "Pending"
    assert found["conditions"][1] == {
        "type": "Initialized",
        "status": "False",
        "reason": "ContainersNotInitialized",
    }


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (state(), {"state": {"waiting": {"reason": "ContainerCreating"}}}),
        (state(waiting="CrashLoopBackOff", message="m", exit_status=2, restarts=3), {
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "m"}},
            "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}},
        }),
        (state(running=True, started_at="t", exit_status=0), {
            "state": {"running": {"startedAt": "t"}},
            "lastState": {"terminated": {"exitCode": 0, "reason": "Completed"}},
        }),
        (state(done=True, exit_status=137), {"state": {"terminated": {"exitCode": 137, "reason": "Error"}}}),
    ],
)  # fmt: skip
def test_container_statuses(one: ContainerState, expected: dict[str, Any]) -> None:
    (found,) = pod_status([one], [], True)["containerStatuses"]
    common = {"name": "c", "image": "i", "ready": False, "started": False, "restartCount": one.restarts}
    assert found == {**common, **expected}


GATE = {"type": "a.b/gate", "status": "True"}


@pytest.mark.parametrize(
    ("others", "ready", "why"),
    [
        (
            [],
            "False",
            (
                "ReadinessGatesNotReady",
                'corresponding condition of pod readiness gate "a.b/gate" does not exist.',
            ),
        ),
        (
            [{**GATE, "status": "False"}],
            "False",
            (
                "ReadinessGatesNotReady",
                'the status of pod readiness gate "a.b/gate" is not "True", but False',
            ),
        ),
        ([GATE], "True", (None, None)),
    ],
)
def test_a_gate_holds_up_readiness(
    others: list[dict[str, str]], ready: str, why: tuple[str | None, str | None]
) -> None:
    found = pod_status(
        [state(**RUNNING)], [], True, ["a.b/gate"], [{"type": "Ready", "status": "x"}, *others]
    )
    told = {c["type"]: c for c in found["conditions"]}
    assert told["ContainersReady"]["status"] == "True" and told["Ready"]["status"] == ready
    assert (told["Ready"].get("reason"), told["Ready"].get("message")) == why
    assert [c for c in found["conditions"] if c["type"] == GATE["type"]] == others


def test_what_is_missing_is_named() -> None:
    found = pod_status([state()], [ContainerState("one", "i"), ContainerState("two", "i", ready=True)], False)
    told = {c["type"]: (c.get("reason"), c.get("message")) for c in found["conditions"]}
    assert told["Initialized"] == ("ContainersNotInitialized", "containers with incomplete status: [one]")
    assert told["Ready"] == ("ContainersNotReady", "containers with unready status: [one c]")


@pytest.mark.parametrize(("status", "reason"), [(0, "PodCompleted"), (1, "PodFailed")])
def test_what_has_ended_says_so(status: int, reason: str) -> None:
    found = pod_status([state(done=True, exit_status=status)], [], True)
    assert {c.get("reason") for c in found["conditions"] if c["type"] in ("Ready", "ContainersReady")} == {
        reason
    }


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    before = [{"type": "A", "status": "True", "lastTransitionTime": "t0"}, {"type": "B", "status": "True"}]
    now = [{"type": "A", "status": "True", "reason": "r"}, {"type": "B", "status": "False"}]
    assert stamped(now, before, "t1") == [
        {"type": "A", "status": "True", "reason": "r", "lastTransitionTime": "t0"},
        {"type": "B", "status": "False", "lastTransitionTime": "t1"},
    ]


def test_how_a_life_ended() -> None:
    one = state()
    one.begin("t0")
    one.ended(3, "t1", "out of luck")
    (found,) = pod_status([one], [], True)["containerStatuses"]
    assert found["lastState"]["terminated"] == {
        "exitCode": 3,
        "reason": "Error",
        "message": "out of luck",
        "startedAt": "t0",
        "finishedAt": "t1",
    }
    one.ended(0, "t2", "out of luck")
    (found,) = pod_status([one], [], True)["containerStatuses"]
    assert found["lastState"]["terminated"].get("message") is None


def test_restarts_are_put_off_ever_longer() -> None:
    backoff = Backoff()
    assert [backoff.after(1) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert [backoff.after(601), backoff.after(1)] == [0, 10]


def test_a_stand_in_lives_and_ends_as_its_container_would() -> None:
    served = Served(
        Container.of({"name": "c", "readinessProbe": {"tcpSocket": {"port": 1}}}), "stand-ins", True
    )
    assert not served.count(5, None, "t")  # others' restarts, before this pod
    served.begin("t0")
    assert (served.state.running, served.state.started, served.state.ready) == (True, True, False)
    assert served.count(6, 1, "t1") and served.state.restarts == 1
    assert (served.state.running, served.state.began_at, served.state.ended_at) == (False, "t0", "t1")
    policies = {name: RestartPolicy(name) for name in ("Always", "OnFailure", "Never")}
    assert [served.end("t1", policies[name], 1.0) for name in ("Always", "OnFailure")] == [0, 10]
    assert served.end("t2", policies["OnFailure"], 1.0, 0) is None and served.state.exit_status == 0
    assert served.end("t2", policies["Never"], 1.0) is None
    assert not served.count(7, 137, "t3") and served.state.restarts == 1  # it has ended for good
    assert served.state.done and served.state.exit_status == 143


def test_services_are_told_as_links() -> None:
    ports = [{"name": "http-web", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    services = [
        obj("Service", "my-db", spec={"clusterIP": "10.96.0.7", "ports": ports}),
        obj("Service", "headless", spec={"clusterIP": "None", "ports": [{"port": 1}]}),
        obj("Service", "away", "other", spec={"clusterIP": "10.96.0.8", "ports": [{"port": 1}]}),
        obj(
            "Service",
            "kubernetes",
            spec={"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": 443}]},
        ),
    ]
    views = [Service.of(o) for o in services]
    links = service_links(views, "default", True)
    assert {k: v for k, v in links.items() if k.startswith("MY_DB")} == {
        "MY_DB_SERVICE_HOST": "10.96.0.7",
        "MY_DB_SERVICE_PORT": "80",
        "MY_DB_SERVICE_PORT_HTTP_WEB": "80",
        "MY_DB_SERVICE_PORT_DNS": "53",
        "MY_DB_PORT": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP": "tcp://10.96.0.7:80",
        "MY_DB_PORT_80_TCP_PROTO": "tcp",
        "MY_DB_PORT_80_TCP_PORT": "80",
        "MY_DB_PORT_80_TCP_ADDR": "10.96.0.7",
        "MY_DB_PORT_53_UDP": "udp://10.96.0.7:53",
        "MY_DB_PORT_53_UDP_PROTO": "udp",
        "MY_DB_PORT_53_UDP_PORT": "53",
        "MY_DB_PORT_53_UDP_ADDR": "10.96.0.7",
    }
    assert {k.partition("_")[0] for k in links} == {"MY", "KUBERNETES"}
    for namespace, wanted in (("default", False), ("other", False)):
        assert {k.partition("_")[0] for k in service_links(views, namespace, wanted)} == {"KUBERNETES"}


def test_the_manifest_outranks_links_and_may_name_them() -> None:
    entries = [{"name": "URL", "value": "http://$(DB_SERVICE_HOST)/"}, {"name": "DB_PORT", "value": "5432"}]
    links = {"DB_SERVICE_HOST": "10.96.0.7", "DB_PORT": "tcp://10.96.0.7:80"}
    sources = Sources("default", {}.get, {}, links=links)
    found = environment(Container.of({"name": "c", "env": entries}), sources)
    assert found == {"DB_SERVICE_HOST": "10.96.0.7", "DB_PORT": "5432", "URL": "http://10.96.0.7/"}


# probes


@pytest.mark.parametrize(
    ("thresholds", "begin", "results", "states"),
    [
        ((1, 3), False, "+---", "+++-"),
        ((1, 3), False, "--+--+---", "--++++++-"),
        ((2, 1), False, "+-++-", "---+-"),
        ((1, 1), True, "-+", "-+"),
        ((3, 2), True, "--+++", "+---+"),
    ],
)
def test_a_probe_flips_after_enough_equal_results(
    thresholds: tuple[int, int], begin: bool, results: str, states: str
) -> None:
    counter = ProbeCounter(*thresholds, begin)
    before, found = begin, ""
    for result in results:
        flipped = counter.note(result == "+")
        assert flipped is (counter.state != before)
        before = counter.state
        found += "+" if counter.state else "-"
    assert found == states


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_probe_fails_after_enough_failures_in_a_row(
    success: int, failure: int, results: list[bool]
) -> None:
    counter = ProbeCounter(success, failure, True)
    for result in results:
        counter.note(result)
    assert counter.failing is (len(results) >= failure and not any(results[-failure:]))


# environments

ENTRIES = st.text(alphabet="$()AB x", max_size=12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$(A)-$(B)", "1-2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$", "$$"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$A ${A}", "$A ${A}"),
        ("$(A", "$(A"),
        ("cost: 5$", "cost: 5$"),
        ("$(A)$(", "1$("),
        ("", ""),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expected


@given(ENTRIES)
def test_expand_changes_nothing_where_nothing_is_meant(text: str) -> None:
    assert expand(text.replace("$", "$$"), {"A": "1"}) == text
    if "$" not in text:
        assert expand(text, {"A": "1"}) == text


def test_an_environment_is_read_in_order() -> None:
    env = [
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(POD_IP):$(PORT)"},
        {"name": "PORT", "value": "80"},
        {"name": "AGAIN", "value": "$(URL) $(PORT)"},
        {"name": "EMPTY"},
        {"name": "NONE", "value": None},
        {"name": "PORT", "value": "8$(PORT)"},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "m", "key": "k"}}},
        {"name": "MISSING", "valueFrom": {"secretKeyRef": {"name": "m", "key": "none", "optional": True}}},
    ]
    container = Container.of({"name": "c", "env": env})
    found = {
        CONFIG_MAP.key("default", "m"): obj("ConfigMap", "m", data={"k": "from map"}),
        SECRET.key("default", "m"): obj("Secret", "m", stringData={"k": "from secret"}),
    }
    sources = Sources("default", found.get, {"status.podIP": "10.244.1.2"})
    assert environment(container, sources) == {
        "POD_IP": "10.244.1.2",
        "URL": "http://10.244.1.2:$(PORT)",
        "PORT": "880",
        "AGAIN": "http://10.244.1.2:$(PORT) 80",
        "EMPTY": "",
        "NONE": "",
        "C": "from map",
        "S": "from secret",
    }


def test_the_downward_api() -> None:
    o = pod(
        metadata={"uid": "u", "labels": {"app": "web"}, "annotations": {"a.b/c": "d"}},
        spec={"nodeName": "node1"},
        status={
            "podIP": "10.244.1.2",
            "podIPs": [{"ip": "10.244.1.2"}, {"ip": "fd00::2"}],
            "hostIP": "10.0.0.11",
        },
    )
    assert downward_fields(o, PodSpec.of(o.spec)) == {
        "metadata.name": "p",
        "metadata.namespace": "default",
        "metadata.uid": "u",
        "metadata.labels": 'app="web"',
        "metadata.annotations": 'a.b/c="d"',
        "metadata.labels['app']": "web",
        "metadata.annotations['a.b/c']": "d",
        "spec.nodeName": "node1",
        "spec.serviceAccountName": "default",
        "status.podIP": "10.244.1.2",
        "status.podIPs": "10.244.1.2,fd00::2",
        "status.hostIP": "10.0.0.11",
        "status.hostIPs": "10.0.0.11",
    }


def test_texts_of_config_maps_and_secrets() -> None:
    assert texts(obj("ConfigMap", data={"a": "1"})) == {"a": "1"}
    assert texts(obj("Secret", data={"a": "aGk="}, stringData={"b": "ho"})) == {"a": "hi", "b": "ho"}
    assert texts(obj("Secret")) == {}


# when a lab is Ready

JOB = {"apiVersion": "batch/v1", "kind": "Job", "name": "tries", "uid": "u", "controller": True}
FAILED = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}


def reasons(*objects: Any) -> list[str]:
    return not_ready(Objects(objects))


def workload(kind: str, replicas: Any, ready: int, total: int | None = None, **metadata: Any) -> Any:
    status = {"readyReplicas": ready, "replicas": ready if total is None else total}
    return obj(kind, "web", metadata=metadata, spec={"replicas": replicas}, status=status)


def test_nothing_is_missing() -> None:
    assert (
        reasons(
            pod("ready", status={"phase": "Running", "conditions": conditions(True)}),
            pod("job", status={"phase": "Succeeded", "conditions": conditions(False)}),
            pod("beside", status=pod_status([state(done=True, exit_status=0), state(**RUNNING)], [], True)),
            workload("Deployment", 2, 2),
            workload("StatefulSet", 0, 0),
            obj("Deployment", "one", spec={}, status={"readyReplicas": 1, "replicas": 1}),
            workload("ReplicaSet", 3, 0, ownerReferences=[{"uid": "u"}]),
            obj("Job", "tries", spec={}, status={"failed": 1, "conditions": []}),
            pod("tried", metadata={"ownerReferences": [JOB]}, status={"phase": "Failed"}),
        )
        == []
    )


@pytest.mark.parametrize(
    ("o", "reason"),
    [
        (workload("Deployment", 3, 2), "Deployment default/web has 2 of 3 replicas ready"),
        (workload("StatefulSet", 1, 1, total=2), "StatefulSet default/web has 2 replicas, and shall have 1"),
        (workload("ReplicaSet", 1, 0), "ReplicaSet default/web has 0 of 1 replicas ready"),
        (
            obj("Job", "x", spec={}, status={"conditions": [FAILED]}),
            "Job default/x has failed: DeadlineExceeded: too long",
        ),
        (pod(), "Pod default/p is Pending"),
        (pod(status={"phase": "Failed", "message": "why"}), "Pod default/p is Failed: why"),
        (
            pod(status={"conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]}),
            "Pod default/p is Pending: no node",
        ),
        (
            pod(metadata={"deletionTimestamp": "t"}, status={"conditions": conditions(True)}),
            "Pod default/p is terminating",
        ),
        (
            pod(status=pod_status([state(waiting="CrashLoopBackOff", message="m")], [], True)),
            "Pod default/p container c waits: CrashLoopBackOff: m",
        ),
        (
            pod(status=pod_status([state(running=True)], [], True)),
            "Pod default/p container c runs but is not ready",
        ),
        (
            pod(status=pod_status([state()], [ContainerState("side", "i", running=True)], False)),
            "Pod default/p container side runs but is not ready",
        ),
        (
            pod(status=pod_status([state(done=True, exit_status=1)], [], True)),
            "Pod default/p container c has ended with status 1",
        ),
        (
            pod(status=pod_status([state(done=True, exit_status=1, last_words="no luck")], [], True)),
            "Pod default/p container c has ended with status 1: no luck",
        ),
        (
            pod(status=pod_status([state(waiting="CrashLoopBackOff", message="m", exit_status=127)], [], True)),
            "Pod default/p container c waits: CrashLoopBackOff: m; it ended with status 127;"
            " the annotation emulab.dev/program: standin on the Pod has a stand-in take its place",
        ),
        (
            pod(status=pod_status([state(done=True, exit_status=1, last_words="x: No such file")], [], True)),
            "Pod default/p container c has ended with status 1: x: No such file;"
            " the annotation emulab.dev/program: standin on the Pod has a stand-in take its place",
        ),
        (
            pod(status=pod_status([state(done=True, exit_status=0), state(running=True)], [], True)),
            "Pod default/p container c runs but is not ready",
        ),
        (
            pod(status=pod_status([state(**RUNNING)], [], True, ["a.b/gate"])),
            'Pod default/p is Running: corresponding condition of pod readiness gate "a.b/gate" does not exist.',
        ),
        (
            pod(status={**pod_status([state(done=True, exit_status=137)], [], True), "reason": "DeadlineExceeded",
                        "message": "too long"}),
            "Pod default/p is Failed: too long",
        ),
    ],
)  # fmt: skip
def test_what_is_missing(o: Any, reason: str) -> None:
    assert reasons(o) == [reason]


def test_what_a_probe_was_answered_is_told() -> None:
    about = {
        "kind": "Pod",
        "namespace": "default",
        "name": "p",
        "uid": "u",
        "fieldPath": "spec.containers{c}",
    }
    events = [
        obj(
            "Event",
            name,
            reason=reason,
            message=message,
            lastTimestamp=time,
            involvedObject={**about, "uid": uid},
        )
        for name, reason, message, time, uid in (
            ("a", "Unhealthy", "Readiness probe failed: new", "2026-01-02T00:00:00Z", "u"),
            ("b", "Unhealthy", "Readiness probe failed: old", "2026-01-01T00:00:00Z", "u"),
            ("c", "Unhealthy", "another's of that name", "2026-01-03T00:00:00Z", "v"),
            ("d", "BackOff", "no probe", "2026-01-03T00:00:00Z", "u"),
        )
    ]
    ill = pod(metadata={"uid": "u"}, status=pod_status([state(running=True)], [], True))
    assert why_not_ready(Objects([ill, *events])) == [
        "Pod default/p container c runs but is not ready; Readiness probe failed: new"
    ]


def test_a_pod_of_a_node_that_is_not_there_says_so() -> None:
    bound = obj(
        "Pod", "p", spec={"nodeName": "gone", "containers": [{"name": "c"}]}, status={"phase": "Pending"}
    )
    assert why_not_ready(Objects([bound])) == ["Pod default/p is Pending; there is no node gone"]
    assert why_not_ready(Objects([bound, obj("Node", "gone", "")])) == ["Pod default/p is Pending"]


def test_nobody_waits_for_workloads_of_a_namespace_that_is_ending() -> None:
    """Their Pods are deleted before they are, and none is made again."""
    metadata = {"deletionTimestamp": "2023-11-14T22:13:20Z"}
    assert reasons(workload("Deployment", 2, ready=0)) != []
    gone = obj("Namespace", "default", "", metadata=metadata)
    assert reasons(workload("Deployment", 2, ready=0), gone) == []


REFUSED = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}],
}
RUNS = {"phase": "Running", "conditions": conditions(ready=True)}


@pytest.mark.parametrize(
    ("others", "vain"),
    [
        ([], True),
        ([pod("up", status=RUNS)], True),
        ([pod("begins", status={"phase": "Pending"})], False),
        ([pod("ends", spec={"restartPolicy": "Never"}, status=RUNS)], False),
        ([pod("goes", metadata={"deletionTimestamp": "now"}, status=RUNS)], False),
        ([obj("ReplicaSet", "asks", spec={"replicas": 1})], False),
        ([obj("ReplicaSet", "has", spec={"replicas": 0, "minReadySeconds": 5})], False),
    ],
)
def test_who_finds_no_node_is_waited_for_in_vain_unless_somebody_makes_room(
    others: list[Any], vain: bool
) -> None:
    assert waits_in_vain(Objects([pod(status=REFUSED), *others])) is vain


def test_nobody_waits_in_vain_where_all_is_ready() -> None:
    assert not waits_in_vain(Objects([pod(status=RUNS)]))


@pytest.mark.parametrize(
    ("o", "vain"),
    [
        (
            pod(
                spec={"restartPolicy": "Never"},
                status=pod_status([state(done=True, exit_status=1)], [], True),
            ),
            True,
        ),
        (
            pod(
                spec={"restartPolicy": "Never"},
                status=pod_status([state(done=True, exit_status=1), state(**RUNNING)], [], True),
            ),
            True,
        ),
        (obj("Job", "x", spec={}, status={"conditions": [FAILED]}), True),
        (obj("Job", "x", spec={}, status={"failed": 1}), False),
        (pod(status=pod_status([state(exit_status=1)], [], True)), False),
        (pod(spec={"restartPolicy": "Never"}, status=pod_status([state(running=True)], [], True)), False),
        (
            pod(
                metadata={"ownerReferences": [{"kind": "Job", "controller": True}]},
                spec={"restartPolicy": "Never"},
                status=pod_status([state(done=True, exit_status=1)], [], True),
            ),
            False,
        ),
    ],
)
def test_who_has_failed_for_good_is_waited_for_in_vain(o: Any, vain: bool) -> None:
    assert waits_in_vain(Objects([o])) is vain
    assert not waits_in_vain(Objects([o, pod("begins", status={"phase": "Pending"})]))


@pytest.mark.parametrize(
    ("one", "said", "vain"),
    [
        (state(waiting="CreateContainerConfigError", message='secret "s" not found'), "", True),
        (
            state(waiting="CreateContainerConfigError", message="couldn't find key k in Secret default/s"),
            "",
            False,
        ),
        (state(waiting="CrashLoopBackOff", message='secret "s" not found'), "", False),
        (state(), 'MountVolume.SetUp failed for volume "v" : configmap "m" not found', True),
        (state(), 'MountVolume.SetUp failed for volume "v" : no space left', False),
        (state(), "", False),
        (state(**RUNNING), 'MountVolume.SetUp failed for volume "v" : configmap "m" not found', False),
    ],
)
def test_what_isnt_there_is_waited_for_in_vain(one: ContainerState, said: str, vain: bool) -> None:
    """Nobody in a lab makes ConfigMaps and Secrets but who waits."""
    about = {"kind": "Pod", "namespace": "default", "name": "p", "uid": "u"}
    event = obj("Event", "e", reason="FailedMount", message=said, lastTimestamp="1", involvedObject=about)
    owner = obj("ReplicaSet", "rs", spec={"replicas": 1}, metadata={"uid": "r"})
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "r", "controller": True}
    metadata = {"uid": "u", "ownerReferences": [reference]}
    waiting = pod(metadata=metadata, status=pod_status([one], [], True))
    there = [waiting, owner, *([event] if said else [])]
    assert waits_in_vain(Objects(there)) is vain
    assert not waits_in_vain(Objects([*there, pod("begins", status={"phase": "Pending"})]))
    assert not waits_in_vain(Objects([*there, obj("ReplicaSet", "asks", spec={"replicas": 1})]))
    assert not waits_in_vain(Objects([*there, obj("Secret", "s"), obj("ConfigMap", "m")])), "it has come"


def test_each_life_of_a_container_is_another_for_a_runtime() -> None:
    def ids(one: ContainerState, pod: str = "u") -> tuple[str, str]:
        (found,) = identified(pod_status([one], [], True)["containerStatuses"], pod)
        last = found["lastState"].get("terminated") or found["state"].get("terminated") or {}
        return found.get("containerID", ""), last.get("containerID", "")

    assert ids(ContainerState("c", "i")) == ("", "")
    first, none = ids(ContainerState("c", "i", running=True))
    assert first.startswith("containerd://") and len(first) == 77 and none == ""
    second, last = ids(ContainerState("c", "i", running=True, restarts=1, exit_status=1))
    assert last == first and second != first
    assert ids(ContainerState("c", "i", exit_status=1, waiting="CrashLoopBackOff")) == (first, first)
    assert ids(ContainerState("c", "i", exit_status=0, done=True)) == (first, first)
    assert ids(ContainerState("c", "i", running=True), "other")[0] != first

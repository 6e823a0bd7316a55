"""LimitRanges and ResourceQuotas: what a Namespace's newcomers get, and who is refused, in the API server's words."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_store import Store as Controlled
from controllers_store import conditions, make, node, template, workload
from manifest_texts import accepted, described, refused

from emulab.cluster.admission.merge import admit
from emulab.cluster.controllers import reconcile
from emulab.cluster.store import Forbidden, Store
from emulab.kinds.registry import POD, RESOURCE_QUOTA
from emulab.lab.supervisor.readiness import not_ready
from emulab.model.objects import Object


def limit_range(type_: str = "Container", **item: Any) -> Object:
    return make("LimitRange", "limits", spec={"limits": [{"type": type_, **item}]})


def quota(name: str = "q", scopes: Any = None, selector: Any = None, **hard: Any) -> Object:
    spec: dict[str, Any] = {"hard": {name.replace("__", "."): value for name, value in hard.items()}}
    spec |= {"scopes": scopes} if scopes else {}
    spec |= {"scopeSelector": selector} if selector else {}
    return make("ResourceQuota", name, spec=spec)


def pod(name: str = "p", requests: Any = None, limits: Any = None, **spec: Any) -> Object:
    resources = {"requests": requests, "limits": limits}
    container = {
        "name": "c",
        "image": "i",
        "resources": {word: all_ for word, all_ in resources.items() if all_},
    }
    return make("Pod", name, spec={"containers": [container], **spec})


def store(*objects: Object) -> Store:
    made = Store()
    for o in objects:
        admit(made, o)
    return made


def refusal(made: Store, o: Object) -> str:
    with pytest.raises(Forbidden) as raised:
        admit(made, o)
    return str(raised.value).partition(": ")[2]


def resources(made: Store, name: str = "p") -> Any:
    there = made.get(POD.key("default", name))
    assert there is not None
    return there.spec["containers"][0].get("resources")


def test_containers_get_what_they_do_not_ask_for() -> None:
    made = store(limit_range(default={"cpu": "1", "memory": "1Gi"}, defaultRequest={"cpu": "500m"}), pod())
    assert resources(made) == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "limits": {"cpu": "1", "memory": "1Gi"},
    }
    there = made.get(POD.key("default", "p"))
    assert there is not None
    assert there.annotations["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    )
    assert admit(made, pod()) == "unchanged"


def test_what_is_asked_for_stays_and_a_limit_is_a_request() -> None:
    made = store(limit_range(defaultRequest={"cpu": "500m"}, max={"cpu": "2"}), pod(limits={"cpu": "1"}))
    assert resources(made) == {"limits": {"cpu": "1"}}
    admit(made, pod("q", requests={"cpu": "250m"}))
    assert resources(made, "q") == {"requests": {"cpu": "250m"}, "limits": {"cpu": "2"}}


def test_other_namespaces_have_other_limits() -> None:
    made = store(limit_range(default={"cpu": "1"}))
    admit(made, make("Pod", "p", namespace="other", spec=pod().spec))
    there = made.get(POD.key("other", "p"))
    assert there is not None and there.spec == pod().spec


@pytest.mark.parametrize(
    ("item", "asked", "why"),
    [
        (
            {"max": {"cpu": "1"}},
            {"limits": {"cpu": "2"}},
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        (
            {"max": {"cpu": "800m"}, "min": {"cpu": "200m"}},
            {"requests": {"cpu": "100m"}, "limits": {"cpu": "800m"}},
            "minimum cpu usage per Container is 200m, but request is 100m",
        ),
        (
            {"maxLimitRequestRatio": {"memory": 2}},
            {"requests": {"memory": "100Mi"}, "limits": {"memory": "300Mi"}},
            "memory max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            {"maxLimitRequestRatio": {"memory": 2}},
            {},
            "memory max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
        ({"type_": "Pod", "max": {"cpu": "1"}}, {}, "maximum cpu usage per Pod is 1.  No limit is specified"),
        (
            {"type_": "Pod", "min": {"cpu": "1"}},
            {},
            "minimum cpu usage per Pod is 1.  No request is specified",
        ),
        (
            {"max": {"memory": "400M"}, "maxLimitRequestRatio": {"memory": 3}},
            {"requests": {"memory": "0.1G"}, "limits": {"memory": "0.5G"}},
            "[maximum memory usage per Container is 400M, but limit is 500M, memory max limit to request ratio per"
            " Container is 3, but provided ratio is 5.000000]",
        ),
    ],
)
def test_who_asks_for_too_much_or_too_little_is_refused(item: Any, asked: Any, why: str) -> None:
    assert refusal(store(limit_range(**item)), pod(**asked)) == f'pods "p" is forbidden: {why}'


def test_claims_have_limits_too() -> None:
    made = store(limit_range("PersistentVolumeClaim", max={"storage": "2Gi"}))
    claim = make("PersistentVolumeClaim", "data", spec={"resources": {"requests": {"storage": "3Gi"}}})
    assert refusal(made, claim) == (
        'persistentvolumeclaims "data" is forbidden: maximum storage usage per PersistentVolumeClaim is 2Gi, but'
        " request is 3Gi"
    )


def status(made: Store, name: str = "q") -> Any:
    made.apply(reconcile(made.objects(), 0.0))
    there = made.get(RESOURCE_QUOTA.key("default", name))
    return there.status if there else None


def test_a_quota_counts_and_refuses_who_comes_too_many() -> None:
    made = store(quota(pods="2", configmaps=1), pod("a"), pod("b"))
    assert status(made) == {"hard": {"pods": "2", "configmaps": 1}, "used": {"pods": "2", "configmaps": "0"}}
    assert refusal(made, pod("c")) == (
        'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'
    )
    made.set_status(POD.key("default", "a"), phase="Succeeded")
    assert admit(made, pod("c")) == "created"
    admit(made, make("ConfigMap", "one"))
    assert 'configmaps "two" is forbidden: exceeded quota: q' in refusal(made, make("ConfigMap", "two"))
    admit(made, make("ConfigMap", "two", namespace="other"))
    assert admit(made, make("ConfigMap", "one", data={"a": "b"})) == "configured"


def test_sums_of_what_pods_ask_for() -> None:
    hard = {"requests__memory": "1Gi", "limits__cpu": "2", "cpu": "1"}
    made = store(quota(**hard), pod("a", requests={"cpu": "400m", "memory": "600Mi"}, limits={"cpu": "1"}))
    assert status(made)["used"] == {"requests.memory": "600Mi", "limits.cpu": "1", "cpu": "400m"}
    more = {"cpu": "700m", "memory": "700Mi"}
    assert refusal(made, pod("b", requests=more, limits={"cpu": "1"})) == (
        'pods "b" is forbidden: exceeded quota: q, requested: cpu=700m,requests.memory=700Mi, used:'
        " cpu=400m,requests.memory=600Mi, limited: cpu=1,requests.memory=1Gi"
    )
    assert refusal(made, pod("b", requests={"cpu": "1m"})) == (
        'pods "b" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.memory for: c'
    )


def test_what_runs_before_the_containers_counts_where_it_is_more() -> None:
    def ask(cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": f"c{cpu}", "image": "i", "resources": {"requests": {"cpu": cpu}}, **more}

    inits = [ask("1", restartPolicy="Always"), ask("3")]
    made = store(
        quota(requests__cpu="9"), make("Pod", "p", spec={"containers": [ask("2")], "initContainers": inits})
    )
    assert status(made)["used"] == {"requests.cpu": "4"}


def test_services_and_counts_of_any_kind() -> None:
    hard = {"services__nodeports": 1, "services__loadbalancers": 0, "count/deployments.apps": 0}
    made = store(quota(**hard))
    ports = [{"port": 80}, {"port": 81}]
    admit(made, make("Service", "plain", spec={"ports": ports}))
    assert "services.nodeports=2" in refusal(
        made, make("Service", "n", spec={"type": "NodePort", "ports": ports})
    )
    balanced = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": ports}
    assert "services.loadbalancers=1" in refusal(made, make("Service", "l", spec=balanced))
    assert refusal(made, workload("Deployment", "web")).startswith('deployments.apps "web" is forbidden')


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ({"scopes": ["BestEffort"]}, {}, {"requests": {"cpu": "1"}}),
        ({"scopes": ["BestEffort"]}, {"requests": {"cpu": "0", "ephemeral-storage": "1Gi"}}, {"limits": {"memory": 1}}),
        ({"scopes": ["NotBestEffort"]}, {"resources": {"requests": {"cpu": "1"}}}, {}),
        ({"scopes": ["NotBestEffort"]}, {"requests": {"cpu": "1"}}, {}),
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 5}, {}),
        ({"scopes": ["NotTerminating"]}, {}, {"activeDeadlineSeconds": 5}),
        (
            {"selector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}},
            {"priorityClassName": "high"},
            {"priorityClassName": "low"},
        ),
    ],
)  # fmt: skip
def test_scopes_say_which_pods_count(scope: Any, inside: Any, outside: Any) -> None:
    made = store(quota(**scope, pods="0"))
    assert "exceeded quota" in refusal(made, pod("a", **inside))
    assert admit(made, pod("b", **outside)) == "created"


def claim(name: str, storage: str, **spec: Any) -> Object:
    return make("PersistentVolumeClaim", name, spec={"resources": {"requests": {"storage": storage}}, **spec})


def test_claims_count_by_their_number_size_and_class() -> None:
    gold = "gold.storageclass.storage.k8s.io"
    hard = {
        f"{gold}/requests.storage": "2Gi",
        f"{gold}/persistentvolumeclaims": "5",
        "requests__storage": "9Gi",
    }
    made = store(quota(**hard), claim("a", "1Gi", storageClassName="gold"), claim("b", "4Gi"))
    assert status(made)["used"] == {
        f"{gold}/requests.storage": "1Gi",
        f"{gold}/persistentvolumeclaims": "1",
        "requests.storage": "5Gi",
    }
    assert f"requested: {gold}/requests.storage=2Gi, used: {gold}/requests.storage=1Gi" in refusal(
        made, claim("c", "2Gi", storageClassName="gold")
    )
    old = make("PersistentVolumeClaim", "d", spec=claim("d", "3Gi").spec)
    annotated = {**old.metadata, "annotations": {"volume.beta.kubernetes.io/storage-class": "gold"}}
    assert f"{gold}/requests.storage=3Gi" in refusal(made, old.replace(metadata=annotated))


def test_a_scope_of_claims() -> None:
    selector = {"matchExpressions": [
        {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]}]}  # fmt: skip
    made = store(quota(selector=selector, persistentvolumeclaims="0"), claim("a", "1Gi"), pod())
    assert "exceeded quota" in refusal(made, claim("b", "1Gi", volumeAttributesClassName="fast"))


def test_what_changes_counts_by_what_it_uses_more() -> None:
    made = store(quota(requests__storage="5Gi", services__nodeports="2", services__loadbalancers="0"))
    admit(made, claim("a", "2Gi"))
    assert admit(made, claim("a", "5Gi")) == "configured"
    assert refusal(made, claim("a", "6Gi")) == (
        'persistentvolumeclaims "a" is forbidden: exceeded quota: q, requested: requests.storage=1Gi, used: '
        "requests.storage=5Gi, limited: requests.storage=5Gi"
    )
    assert admit(made, claim("a", "1Gi")) == "configured"
    ports = [{"port": 80}, {"port": 81}]
    admit(made, make("Service", "s", spec={"ports": ports}))
    assert admit(made, make("Service", "s", spec={"ports": ports, "type": "NodePort"})) == "configured"
    assert "requested: services.nodeports=1, used: services.nodeports=2" in refusal(
        made, make("Service", "s", spec={"ports": [*ports, {"port": 82}], "type": "NodePort"})
    )
    assert "services.loadbalancers=1" in refusal(
        made, make("Service", "s", spec={"ports": ports, "type": "LoadBalancer"})
    )


def test_ports_of_a_balancer_that_are_asked_for_by_number() -> None:
    made = store(quota(services__nodeports="1"))
    plain, asked = {"port": 80}, {"port": 81, "nodePort": 30081}
    balanced = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}
    admit(made, make("Service", "l", spec={**balanced, "ports": [plain, asked]}))
    assert status(made)["used"] == {"services.nodeports": "1"}


def test_what_is_lacking_is_told_before_what_is_too_much() -> None:
    made = store(quota("a", pods="0"), quota("b", limits__cpu="1"))
    assert refusal(made, pod()) == 'pods "p" is forbidden: failed quota: b: must specify limits.cpu for: c'


def test_controllers_make_as_many_as_they_may_and_say_why_no_more() -> None:
    cluster = Controlled(node("node1"), quota(pods="2"), workload("Deployment", "web", 3))
    cluster.converge()
    assert len(cluster.pods()) == 2
    (rs,) = cluster.all("ReplicaSet")
    message = next(c["message"] for c in rs.status["conditions"] if c["type"] == "ReplicaFailure")
    assert "is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2" in message
    assert conditions(cluster.get("Deployment", "web"))["ReplicaFailure"] == "True"
    told = {told.message for told in cluster.told if told.reason == "FailedCreate"}
    assert told == {f"Error creating: {message}"}
    assert cluster.get("ResourceQuota", "q").status["used"] == {"pods": "2"}
    cluster.edit("ResourceQuota", "q", hard={"pods": "5"})
    cluster.converge()
    assert len(cluster.pods()) == 3 and not conditions(cluster.all("ReplicaSet")[0])


def test_replica_sets_of_deployments_count_and_are_refused() -> None:
    count = "count/replicasets.apps"
    cluster = Controlled(node("node1"), quota(**{count: "1"}), workload("Deployment", "web"))
    cluster.converge()
    cluster.put(workload("Deployment", "more"))
    cluster.converge()
    assert [rs.name.rpartition("-")[0] for rs in cluster.all("ReplicaSet")] == ["web"]
    assert cluster.get("ResourceQuota", "q").status["used"] == {count: "1"}
    (told,) = {told.message for told in cluster.told if told.reason == "ReplicaSetCreateError"}
    assert told.startswith('Failed to create new replica set "more-') and told.endswith(
        f'" is forbidden: exceeded quota: q, requested: {count}=1, used: {count}=1, limited: {count}=1'
    )
    assert conditions(cluster.get("Deployment", "more")) == {"Available": "False", "Progressing": "False"}
    why = [line for line in not_ready(cluster.snapshot()) if line.startswith("Deployment")]
    assert why == [f"Deployment default/more has 0 of 1 replicas ready: {told}"]
    cluster.edit("ResourceQuota", "q", hard={count: "2"})
    cluster.converge()
    assert len(cluster.pods()) == 2
    assert conditions(cluster.get("Deployment", "more"))["Progressing"] == "True"


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_other_workloads_are_refused_as_well(kind: str) -> None:
    cluster = Controlled(node("node1"), quota(pods="0"), workload(kind, "web"))
    cluster.converge()
    (message,) = {told.message for told in cluster.told if told.reason == "FailedCreate"}
    begin = (
        "create Pod web-0 in StatefulSet web failed error: " if kind == "StatefulSet" else "Error creating: "
    )
    assert message.startswith(f'{begin}pods "web-') and not cluster.pods()


def test_the_pods_of_a_workload_have_a_limit_range_s_resources() -> None:
    asked = template("web")
    cluster = Controlled(
        node("node1"), limit_range(default={"cpu": "1"}), workload("Deployment", "web", template=asked)
    )
    cluster.converge()
    (made,) = cluster.pods()
    assert made.spec["containers"][0]["resources"]["limits"] == {"cpu": "1"}
    assert "resources" not in asked["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ({"min": {"cpu": "2"}, "max": {"cpu": "1"}}, "min.cpu: min value 2 is greater than max value 1"),
        (
            {"default": {"cpu": "500m"}, "defaultRequest": {"cpu": "800m"}},
            "defaultRequest.cpu: default request value 800m is greater than default limit value 500m",
        ),
        ({"maxLimitRequestRatio": {"cpu": "800m"}}, "maxLimitRequestRatio.cpu: ratio 800m is less than 1"),
        ({"type": "Pod", "default": {"cpu": "1"}}, "default: may not be specified when `type` is 'Pod'"),
        (
            {"type": "PersistentVolumeClaim"},
            "either minimum or maximum storage value is required, but neither was provided",
        ),
    ],
)
def test_what_a_limit_range_may_not_say(item: dict[str, Any], problem: str) -> None:
    said = refused(described("LimitRange", {"limits": [{"type": "Container", **item}]}))
    assert len(said) == 1 and said[0].endswith(problem)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"hard": {"pods": "1.5"}}, "spec.hard.pods: must be an integer"),
        ({"hard": {"requests.cpu": "-1"}}, "spec.hard[requests.cpu]: must be greater than or equal to 0"),
        ({"scopes": ["BestEffort", "NotBestEffort"]}, "spec.scopes: conflicting scopes"),
        (
            {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]},
            "spec.scopes: BestEffort: unsupported scope applied to resource",
        ),
        (
            {"hard": {"pods": "1", "services": "1"}, "scopes": ["Terminating"]},
            "spec.scopes: Terminating: unsupported scope applied to resource",
        ),
        (
            {"hard": {"pods": "1"}, "scopes": ["VolumeAttributesClass"]},
            "spec.scopes: VolumeAttributesClass: unsupported scope applied to resource",
        ),
    ],
)
def test_what_a_quota_may_not_say(spec: dict[str, Any], problem: str) -> None:
    assert refused(described("ResourceQuota", spec)) == [problem]
    assert accepted(described("ResourceQuota", {"hard": {"pods": "1", "requests.cpu": "1.5"}}))

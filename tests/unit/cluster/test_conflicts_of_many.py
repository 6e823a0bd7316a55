"""What makes thousands of objects cheap gives the same answers as the plain way."""

from __future__ import annotations

import ipaddress
from copy import deepcopy
from typing import Any

from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from manifest_texts import POD, SERVICE, WORKLOAD, accepted, described, manifest, problems, stream

from emulab.cluster.admission.conflicts import conflicts
from emulab.cluster.admission.crosscheck import warnings
from emulab.cluster.admission.newcomers import Newcomers
from emulab.kinds.core.serviceview import Service
from emulab.model.checks import is_ipv4
from emulab.model.collection import Objects
from emulab.model.keys import Key
from emulab.model.objects import Object, Position
from emulab.model.sharing import Shared

# New objects against those that are there

_ADDRESSES = ("10.96.0.1", "10.96.0.10", "10.96.0.20", "10.96.0.21", "10.50.0.7", "10.50.0.8", "None", "")
_PORTS = st.sampled_from((0, 30001, 30002, 30003))


@st.composite
def _services(draw: st.DrawFn) -> dict[str, Any]:
    spec: dict[str, Any] = {
        **SERVICE,
        "type": draw(st.sampled_from(("ClusterIP", "NodePort", "LoadBalancer"))),
        "ports": [{"port": 80, "nodePort": draw(_PORTS)}, {"port": 81, "nodePort": draw(_PORTS)}],
        "healthCheckNodePort": draw(_PORTS),
    }
    many = draw(st.lists(st.sampled_from(_ADDRESSES[:6]), max_size=2))
    spec |= {"clusterIPs": many} if many else {"clusterIP": draw(st.sampled_from(_ADDRESSES))}
    return described("Service", spec, draw(st.sampled_from("abcde")))


_raws = st.one_of(
    _services(),
    _services(),
    _services(),
    st.builds(
        lambda name, address: described("LoadBalancer", {"address": address}, name),
        st.sampled_from(("public-lb", "lb", "node1", "c")),
        st.sampled_from(("203.0.113.10", "10.0.0.100")),
    ),
    st.builds(lambda name: described("Client", {}, name), st.sampled_from(("c", "client", "node1", "lb"))),
    st.builds(
        lambda cidr, names: described(
            "Cluster", {"serviceCIDR": cidr, "nodes": [{"name": n} for n in names]}
        ),
        st.sampled_from(("10.96.0.0/12", "10.50.0.0/24")),
        st.lists(st.sampled_from(("node1", "c", "dns")), min_size=1, unique=True),
    ),
    st.builds(lambda name: described("Deployment", WORKLOAD, name), st.sampled_from("ab")),
)
_batches = st.lists(_raws, max_size=3)
_steps = st.lists(st.tuples(st.sampled_from(("apply", "force", "refused", "delete")), _batches), max_size=8)


def _object(raw: dict[str, Any], line: int) -> Object:
    return Object(deepcopy(raw), Position("f.yaml", line))


@examples(150)
@given(_steps)
def test_newcomers_are_in_conflict_with_what_all_are(steps: list[tuple[str, list[dict[str, Any]]]]) -> None:
    """However the lab became what it is: sound or not, with objects that were taken back or replaced."""
    there: dict[Key, Object] = {}
    newcomers = Newcomers()
    for number, (how, raws) in enumerate(steps):
        coming = [_object(raw, number * 10 + i) for i, raw in enumerate(raws)]
        found = newcomers.conflicts(Objects(there.values()), coming)
        assert found == conflicts({**there, **{o.key: o for o in coming}}.values())
        if how == "delete":
            for o in coming:
                there.pop(o.key, None)
        elif how == "force" or (how == "apply" and not found):
            # as the store does it, an object with more in it takes the place of the one that was given
            there |= {o.key: o.replace(status={}) for o in coming}


def test_newcomers_need_not_be_compared_with_what_they_have_nothing_to_do_with() -> None:
    looked_at: list[str] = []

    class Watched(Object):
        @property
        def spec(self) -> Any:
            looked_at.append(self.name)
            return self.raw["spec"]

    ports = [{"port": 80}]
    services = [
        described("Service", {"clusterIP": f"10.96.1.{i}", "ports": ports}, f"s{i}") for i in range(9)
    ]
    objects = Objects(Watched(raw) for raw in services)
    newcomers = Newcomers()
    assert newcomers.conflicts(objects, []) == []
    looked_at.clear()
    one = Object(described("Service", {"clusterIP": "10.96.1.3", "ports": ports}, "new"))
    assert [f.message for f in newcomers.conflicts(objects, [one])] == [
        "10.96.1.3 is already that of Service/s3 at (generated)"
    ]
    assert set(looked_at) == {"s3"}


# Warnings about some objects among all


def _metadata(o: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**o, "metadata": {**o["metadata"], **fields}}


def test_warnings_about_some_are_those_of_all() -> None:
    web = _metadata(described("Pod", POD, "web"), labels={"app": "web"})
    all_of_them = [
        described("Service", SERVICE, "a"),
        described("Service", {**SERVICE, "selector": {"app": "other"}}, "b"),
        described("LoadBalancer", {"target": {"service": {"name": "a", "port": 81}}}, "lb"),
        described("LoadBalancer", {"target": {"service": {"name": "c", "port": 81}}}, "lb2"),
        described("Pod", {**POD, "nodeName": "node7"}, "astray"),
        web,
    ]
    objects = [_object(_metadata(raw, namespace="default"), line) for line, raw in enumerate(all_of_them)]
    expected = warnings(objects)
    assert len(expected) == 4
    assert [line for o in objects for line in warnings([o], Objects(objects))] == expected


def test_pods_of_controllers_are_not_what_a_selector_was_meant_for() -> None:
    made = _metadata(described("Pod", POD, "web"), labels={"app": "web"}, ownerReferences=[{"name": "x"}])
    service = _object(described("Service", SERVICE), 1)
    assert warnings([service], Objects([service, _object(made, 2)])) != []


# Lines, found once there is something to say


def test_lines_of_conflicts_are_those_of_the_fields() -> None:
    text = "\n---\n".join(
        f"""kind: List
apiVersion: v1
items:
- apiVersion: v1
  kind: Service
  metadata: {{name: {name}}}
  spec:
    ports: [{{port: 80}}]
    clusterIP: 10.96.0.20"""
        for name in "abc"
    )
    assert [line.split(" is ")[0] for line in problems(text)] == [
        "shop.yaml:19: Service/b spec.clusterIP: 10.96.0.20",
        "shop.yaml:29: Service/c spec.clusterIP: 10.96.0.20",
    ]


# Parts kept once


def test_equal_parts_of_objects_are_one() -> None:
    first, second = manifest(stream(*(described("Service", SERVICE, name) for name in "ab"))).objects
    assert first.spec is second.spec
    assert first.metadata == {"name": "a", "namespace": "default"}


_parts = st.recursive(
    st.sampled_from((True, False, 0, 1, 1.0, 0.0, -0.0, "", "a", "1")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), _parts, max_size=3), max_size=6))
def test_sharing_parts_changes_no_value(containers: list[dict[str, Any]]) -> None:
    before = repr(containers)  # tells 1 from True and from 1.0
    shared = Shared()
    for container in containers:
        shared.parts(container)
    assert repr(containers) == before


# Views


def test_a_view_is_read_once_and_never_of_what_was_there_before() -> None:
    (o,) = accepted(described("Service", {**SERVICE, "clusterIP": "10.96.0.9"}))
    assert Service.of(o) is Service.of(o)
    other = o.replace(spec={**o.spec, "clusterIP": "10.96.0.8"})
    assert [str(Service.of(each).cluster_ips[0]) for each in (o, other)] == ["10.96.0.9", "10.96.0.8"]
    assert o == Object(o.raw), "having been looked at is no difference"


# Addresses


@given(st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){2,4}\n?", fullmatch=True) | st.ip_addresses(v=4).map(str))
def test_ipv4_is_what_ipaddress_takes_for_it(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        assert not is_ipv4(text)
    else:
        assert is_ipv4(text)

"""What ingress controllers tell of Ingresses."""

from __future__ import annotations

from typing import Any

from tlspairs import DAY, NOW, pair, tls_secret

from emulab.cluster.ingressevents import IngressEvents
from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.model.collection import Objects, Tell
from emulab.model.objects import Object

# What is told of the controller's own ConfigMap is another matter, below.
SYSTEM = [o for o in system_objects(Cluster()) if o.kind != "ConfigMap"]


def ingress(name: str = "i", host: str = "a.test", **spec: Any) -> Object:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"rules": [{"host": host, "http": {"paths": paths}}], **spec},
        }
    )


def said(told: list[Tell]) -> list[tuple[str, str, str]]:
    assert all(one.component == "nginx-ingress-controller" for one in told)
    return [(one.about.name, one.type, one.reason) for one in told]


SYNC = ("i", "Normal", "Sync")


def test_each_change_is_scheduled_for_sync_and_nothing_else() -> None:
    events, one, other = IngressEvents(), ingress(), ingress("theirs", ingressClassName="theirs")

    def told(*objects: Object) -> list[tuple[str, str, str]]:
        return said(events.told(Objects([*SYSTEM, *objects]), Cluster(), NOW))

    assert told(one, other) == [SYNC] and told(one, other) == []
    assert told(one.replace(status={"loadBalancer": {}}), other) == [SYNC]
    assert told(other) == [] and told(ingress(), other) == [SYNC]


def test_an_ingress_that_somebody_serves_by_now() -> None:
    events, one = IngressEvents(), ingress("theirs", ingressClassName="theirs")
    objects = Objects([*SYSTEM, one])
    assert events.told(objects, Cluster(), NOW) == []
    assert said(events.told(objects, Cluster(ingress_classes=("theirs",)), NOW)) == [
        ("theirs", "Normal", "Sync")
    ]


def test_what_is_wrong_with_a_certificate_is_told_once_as_long_as_it_is() -> None:
    events, one = IngressEvents(), ingress(tls=[{"secretName": "s", "hosts": ["a.test"]}])

    def told(*secrets: Object) -> list[tuple[str, str, str]]:
        found = said(events.told(Objects([*SYSTEM, one, *secrets]), Cluster(), NOW))
        return [each for each in found if each != SYNC]

    wrong = tls_secret("s", pair("b.test"))
    missing, mismatch = ("i", "Warning", "CertificateNotFound"), ("i", "Warning", "CertificateMismatch")
    assert told() == [missing] and told() == []
    assert told(wrong) == [mismatch] and told(wrong) == []
    assert told(tls_secret("s", pair("a.test"))) == []
    assert told(tls_secret("s", pair("a.test", end=NOW - 1, begin=NOW - DAY))) == [
        ("i", "Warning", "CertificateExpired")
    ]
    assert told() == [missing]


def test_time_makes_a_certificate_wrong_though_nothing_changes() -> None:
    events = IngressEvents()
    objects = Objects(
        [
            *SYSTEM,
            ingress(tls=[{"secretName": "s"}]),
            tls_secret("s", pair("a.test", begin=NOW + DAY, end=NOW + 100 * DAY)),
        ]
    )
    reasons = [
        [one.reason for one in events.told(objects, Cluster(), NOW + days * DAY)]
        for days in (0, 0.5, 2, 50, 89, 91, 95, 101, 102)
    ]
    assert reasons == [
        ["Sync", "CertificateNotYetValid"],
        *([], [], [], []),
        ["CertificateExpiring"],
        [],
        ["CertificateExpired"],
        [],
    ]


def test_config_maps_of_the_controller() -> None:
    events = IngressEvents()
    [own] = [o for o in SYSTEM if o.kind == "Deployment" and o.name == "ingress-nginx-controller"]
    template = own.spec["template"]
    [container] = template["spec"]["containers"]
    with_map = {**container, "args": [*container["args"], "--configmap=default/conf"]}
    spec = {**own.spec, "template": {**template, "spec": {**template["spec"], "containers": [with_map]}}}
    system = [o for o in SYSTEM if o is not own] + [own.replace(spec=spec)]

    def told(*values: str) -> list[tuple[str, str, str]]:
        about = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "conf", "namespace": "default"},
        }
        maps = [Object({**about, "data": {"k": value}}) for value in values]
        return said(events.told(Objects([*system, *maps]), Cluster(), NOW))

    assert told("a") == [("conf", "Normal", "CREATE")]
    assert told("b") == [("conf", "Normal", "UPDATE")] and told() == []

"""Which images emulab serves itself."""

from __future__ import annotations

import pytest

from emulab.kinds.core.coredns import CoreDnsFlags, FileSource
from emulab.kinds.images import ENGINES, engine_of, ingress_image, repository, server_of


@pytest.mark.parametrize(
    "image",
    [
        "registry.k8s.io/ingress-nginx/controller:v1.15.1@sha256:594ceea7",
        "k8s.gcr.io/ingress-nginx/controller:v0.46.0",
        "mirror.example.com:5000/copies/ingress-nginx/controller:v1",
        "mirror.example.com:5000/ingress-nginx/controller",
        "ingress-nginx/controller",
        "registry.k8s.io/ingress-nginx/controller-chroot:v1.15.1",
        "quay.io/kubernetes-ingress-controller/nginx-ingress-controller:0.30.0",
        "emulab.dev/ingress-nginx/controller",
    ],
)
def test_an_ingress_controller_is_one_wherever_its_image_comes_from(image: str) -> None:
    assert server_of(image) == "ingress"


def test_the_image_of_the_labs_own_controller_says_what_serves() -> None:
    for engine in ENGINES:
        image = ingress_image(engine)
        assert (engine_of(image), server_of(image)) == (engine, "ingress")
    assert engine_of("registry.k8s.io/ingress-nginx/controller:nginx") == ""


@pytest.mark.parametrize(
    "image",
    [
        *("", "nginx", "controller", "example.com/controller:v1", "my-ingress-nginx/controller"),
        *(
            "ingress-nginx/kube-webhook-certgen:v1.6.9",
            "nginx/nginx-ingress:5.0",
            "ingress-nginx/controller/more",
        ),
    ],
)
def test_other_images_are_not_served(image: str) -> None:
    assert server_of(image) == ""


def test_a_registrys_port_is_no_tag() -> None:
    assert repository("localhost:5000/web") == "localhost:5000/web"
    assert repository("localhost:5000/web:1@sha256:0") == "localhost:5000/web"


@pytest.mark.parametrize(
    "image",
    [
        *(
            "emulab.dev/coredns",
            "registry.k8s.io/coredns/coredns:v1.13.1",
            "coredns/coredns",
            "k8s.gcr.io/coredns:1.7",
        ),
        *(
            "rancher/mirrored-coredns-coredns:1.12.0",
            "rancher/hardened-coredns",
            "x.test/eks/coredns:v1-eksbuild.1",
        ),
    ],
)
def test_coredns_is_one_wherever_its_image_comes_from(image: str) -> None:
    assert server_of(image) == "dns"


def test_what_a_container_of_coredns_reads() -> None:
    """The ConfigMap at the place of its flag -conf, and the one that clouds mount beside it."""
    assert CoreDnsFlags.of("edge", {}, {"image": "emulab.dev/coredns"}) == CoreDnsFlags()
    mounts = [{"name": "c", "mountPath": "/etc/coredns/"}, {"name": "x", "mountPath": "/etc/coredns/custom"}]
    container = {"image": "coredns/coredns", "args": ["-conf", "/etc/coredns/Corefile", "--dns.port=1053"]}
    volumes = [
        {"name": "c", "configMap": {"name": "dns", "items": [{"key": "edge", "path": "Corefile"}]}},
        {"name": "x", "configMap": {"name": "mine"}},
    ]
    told = CoreDnsFlags.of("edge", {"volumes": volumes}, {**container, "volumeMounts": mounts})
    assert told == CoreDnsFlags("edge", "dns", "edge", "mine", 1053, own=False)
    one_file = [{"name": "c", "mountPath": "/etc/coredns/Corefile", "subPath": "Corefile"}]
    env = [
        {"name": "A", "value": "b"},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    made_of = [{"name": "c", "projected": {"sources": [{"secret": {"name": "s"}}, volumes[0]]}}]
    for those in (volumes, made_of):
        container = {"image": "coredns/coredns", "volumeMounts": one_file, "env": env}
        told = CoreDnsFlags.of("edge", {"volumes": those}, container)
        assert told == CoreDnsFlags("edge", "dns", "edge", own=False, env=(("A", "b"),))
    several = [{"configMap": {"name": "more"}}, {"secret": {"name": "s"}}, volumes[0]]
    folder = {"image": "coredns/coredns", "volumeMounts": [{"name": "c", "mountPath": "/etc/coredns"}]}
    told = CoreDnsFlags.of("edge", {"volumes": [{"name": "c", "projected": {"sources": several}}]}, folder)
    beside = (FileSource("ConfigMap", "more"), FileSource("Secret", "s"))
    assert told == CoreDnsFlags("edge", "dns", "edge", own=False, beside=beside)
    secret = CoreDnsFlags.of("edge", {"volumes": [{"name": "c", "secret": {"secretName": "s"}}]}, folder)
    assert secret == CoreDnsFlags("edge", "", own=False, beside=(FileSource("Secret", "s"),))
    one_file[0]["subPath"] = "edge"
    secret = CoreDnsFlags.of(
        "edge",
        {"volumes": [{"name": "c", "secret": {"secretName": "s"}}]},
        {**folder, "volumeMounts": one_file},
    )
    assert secret == CoreDnsFlags("edge", "", "edge", own=False, beside=(FileSource("Secret", "s"),))
    bare = CoreDnsFlags.of("kube-system", {}, {"image": "coredns/coredns"})
    assert bare == CoreDnsFlags(own=False, bare="/etc/coredns")

"""Which images emulab serves itself."""

from __future__ import annotations

import pytest

from emulab.kinds.images import repository, server_of


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
    assert server_of("emulab.dev/coredns") == "dns"

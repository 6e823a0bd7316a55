"""Images that emulab serves itself: a container of such an image, without a program of its own, is one of its servers.

An image is known by the end of its repository's name, so that it doesn't matter which registry or mirror it comes from,
and neither tag nor digest count. A line more is another image that is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar

T = TypeVar("T")

DNS, INGRESS, NODE_CACHE = "dns", "ingress", "node-cache"
"""What the servers are."""

DNS_IMAGE, INGRESS_IMAGE = "emulab.dev/coredns", "emulab.dev/ingress-nginx/controller"
NODE_CACHE_IMAGE = "emulab.dev/k8s-dns-node-cache"
"""Those of what every lab has."""

SERVED = {
    DNS_IMAGE: DNS,
    **dict.fromkeys(("coredns", "mirrored-coredns-coredns", "hardened-coredns"), DNS),
    "k8s-dns-node-cache": NODE_CACHE,
    "ingress-nginx/controller": INGRESS,
    "ingress-nginx/controller-chroot": INGRESS,  # of the chart's `controller.image.chroot`
    "kubernetes-ingress-controller/nginx-ingress-controller": INGRESS,  # its name before 0.35
}
"""Which server stands for an image, by the end of its repository's name."""


AGENTS = {
    "kube-proxy": "proxy.mode",
    **dict.fromkeys(
        ("kube-router", "flannel", "calico/node", "mirrored-calico-node", "cilium/cilium", "kindnetd"),
        "network.plugin",
    ),
}
"""Which field of the Cluster says what an agent would make on nodes, by the end of its image's repository's name."""

ENGINES = {"builtin": INGRESS, "nginx": "ingress-by-nginx", "haproxy": "ingress-by-haproxy"}
"""What may serve as an ingress (`Cluster` `spec.ingress.engine`), and its server. All but the first are programs of
that name that have to be installed."""


def ingress_image(engine: str) -> str:
    """The image of the controller that every lab has. It says what serves, so that another engine is a rollout, and
    Pods that end have the one that they began with."""
    return INGRESS_IMAGE if engine == OWN_ENGINE else f"{INGRESS_IMAGE}:{engine}"


def engine_of(image: str) -> str:
    """What serves in a container of that image; "" for images of others, which don't say it."""
    return next((engine for engine in ENGINES if image == ingress_image(engine)), "")


OWN_ENGINE = "builtin"
DNS_ENGINES = {OWN_ENGINE: DNS, "unbound": "dns-by-unbound", "dnsmasq": "dns-by-dnsmasq"}
"""What may serve as the internet's DNS (`Cluster` `spec.dns.engine`) or as a resolver (`Resolver` `spec.engine`), and
its server. All but the first are programs of that name that have to be installed."""


class OwnProgram(NamedTuple):
    """A program of an image that is here although the image isn't, and the first words with which it is run."""

    paths: tuple[str, ...]  # the first is what the image runs
    words: frozenset[str]


OWN_PROGRAMS = {
    "agnhost": OwnProgram(
        ("/agnhost", "/agnhost-2"),
        frozenset(
            ("connect", "dns-server-list", "dns-suffix", "entrypoint-tester", "etc-hosts", "mounttest")
        ),
    ),
}
"""By the end of the repository's name. What such a program does with other words is played by a stand-in."""


def server_of(image: str) -> str:
    """The server that stands for an image; "" for one that emulab doesn't serve."""
    return entry_of(image, SERVED) or ""


def entry_of(image: str, table: Mapping[str, T]) -> T | None:
    """What a table has for an image, by the end of the repository's name."""
    return next((table[end] for end in _ends(image) if end in table), None)


@lru_cache(maxsize=1024)
def _ends(image: str) -> tuple[str, ...]:
    """The ends of a repository's name at which it may be known, the whole name first."""
    parts = repository(image).split("/")
    return tuple("/".join(parts[start:]) for start in range(len(parts)))


def repository(image: str) -> str:
    """An image's name without tag and digest; a registry may have a port."""
    path, slash, last = image.partition("@")[0].rpartition("/")
    return path + slash + last.partition(":")[0]

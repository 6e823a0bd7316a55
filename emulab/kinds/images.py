"""Images that emulab serves itself: a container of such an image, without a program of its own, is one of its servers.

An image is known by the end of its repository's name, so that it doesn't matter which registry or mirror it comes from,
and neither tag nor digest count. A line more is another image that is served.
"""

from __future__ import annotations

from functools import lru_cache

DNS, INGRESS = "dns", "ingress"
"""The servers, as `emulab.servers.host` calls them."""

DNS_IMAGE, INGRESS_IMAGE = "emulab.dev/coredns", "emulab.dev/ingress-nginx/controller"
"""Those of what every lab has."""

SERVED = {
    DNS_IMAGE: DNS,
    "ingress-nginx/controller": INGRESS,
    "ingress-nginx/controller-chroot": INGRESS,  # of the chart's `controller.image.chroot`
    "kubernetes-ingress-controller/nginx-ingress-controller": INGRESS,  # its name before 0.35
}
"""Which server stands for an image, by the end of its repository's name."""


@lru_cache(maxsize=1024)
def server_of(image: str) -> str:
    """The server that stands for an image; "" for one that emulab doesn't serve."""
    parts = repository(image).split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((SERVED[end] for end in ends if end in SERVED), "")


def repository(image: str) -> str:
    """An image's name without tag and digest; a registry may have a port."""
    path, slash, last = image.partition("@")[0].rpartition("/")
    return path + slash + last.partition(":")[0]

"""nginx with the pages of its image, or the front page that a manifest puts in their place.

Of a configuration of somebody's own nothing is known but the ports declared: who has one is anybody.
"""

from __future__ import annotations

from collections.abc import Iterable

from emulab.kinds.core.volumespec import VolumeMount
from emulab.kinds.standins.asked import ImageArguments, Sockets, Speech

_CONFIGURATION = ("/etc/nginx/nginx.conf", "/etc/nginx/conf.d", "/etc/nginx/templates")
"""What the image's nginx and its entrypoint read."""
_FRONT_PAGE = "/usr/share/nginx/html/index.html"


def sockets(asked: ImageArguments) -> Sockets | None:
    return _at(80, asked)


def unprivileged(asked: ImageArguments) -> Sockets | None:
    return _at(8080, asked)


def _at(port: int, asked: ImageArguments) -> Sockets | None:
    if any(is_configuration(mount.path) for mount in asked.mounts):
        return None
    declared = [p.port for p in asked.ports if p.protocol == "TCP"]
    front = {"index": _FRONT_PAGE} if _has(asked.mounts, _FRONT_PAGE) else {}
    return {("TCP", number): Speech("nginx", files=front) for number in dict.fromkeys((port, *declared))}


def is_configuration(mounted: str) -> bool:
    """Whether a volume that is mounted there has some of nginx's configuration in it."""
    return any(_is_below(path, mounted) or _is_below(mounted, path) for path in _CONFIGURATION)


def _has(mounts: Iterable[VolumeMount], path: str) -> bool:
    return any(_is_below(path, mount.path) for mount in mounts)


def _is_below(path: str, folder: str) -> bool:
    top = folder.rstrip("/")
    return path == top or path.startswith(f"{top}/")

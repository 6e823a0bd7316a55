"""nginx with the pages of its image. Of a configuration of somebody's own no more is known than the ports declared."""

from __future__ import annotations

from emulab.kinds.standins.asked import ImageArguments, Sockets, Speech


def sockets(asked: ImageArguments) -> Sockets:
    return _at(80, asked)


def unprivileged(asked: ImageArguments) -> Sockets:
    return _at(8080, asked)


def _at(port: int, asked: ImageArguments) -> Sockets:
    declared = [p.port for p in asked.ports if p.protocol == "TCP"]
    return {("TCP", number): Speech("nginx") for number in dict.fromkeys((port, *declared))}

"""Whom each listening socket stands in for, from what the configuration says of its pod."""

from __future__ import annotations

import json

from emulab.servers.echo.answers import Identity, Played
from emulab.servers.echo.config import PodConfig, PortConfig
from emulab.servers.echo.images import GREETINGS, SAYS


def identity_of(address: str, port: int, pod: PodConfig, protocol: str = "tcp") -> Identity:
    """The identity of the socket at `address` and `port` which stands in for a pod."""
    ways = pod.ports.get(str(port) if protocol == "tcp" else f"{protocol}/{port}") or PortConfig()
    names = {
        "namespace": pod.namespace,
        "ingress": ways.ingress,
        "service": ways.service,
        "pod": pod.pod,
    }
    facts = {**names, "node": pod.node, "podIP": pod.pod_ip or address, "port": port}
    told = json.dumps(facts)[1:-1]
    if not ways.says:
        return Identity(pod.namespace, pod.pod, told)
    addresses = pod.addresses or (pod.pod_ip or address,)
    hostname = pod.hostname or pod.pod
    played = Played(ways.says, hostname, addresses, names, ways.options, ways.began, ways.container)
    greet = GREETINGS.get(ways.says)
    greeting = greet(played) if greet is not None else None
    return Identity(pod.namespace, pod.pod, told, played, SAYS.get(ways.says), greeting)

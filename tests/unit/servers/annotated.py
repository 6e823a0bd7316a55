"""Ingresses with annotations, planned, and the proxy that they make, driven by hand.

    play = served(ingress(("/old/(.*)", "web"), rewrite_target="/new/$1"))
    assert forwarded(play, "/old/x")[0] == "GET /new/x HTTP/1.1"

There are the Services `web`, `other` and `errors`, each with one endpoint, and `empty`, which has none.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from scripted import Script
from worlds import raw_service, raw_slice

from emulab.cluster.system import system_objects
from emulab.kinds.emulab.clusterview import Cluster
from emulab.kinds.networking.controllerflags import ControllerFlags
from emulab.kinds.networking.ingressclasses import IngressClasses
from emulab.model.collection import Objects
from emulab.model.objects import Object
from emulab.plan.kept import PlanSource
from emulab.plan.l7.annotations import PREFIX
from emulab.plan.l7.annotations.unheeded import unheeded
from emulab.plan.l7.ingress import ingress_config
from emulab.servers.configuration import from_json, to_json
from emulab.servers.l7.config import L7Config
from emulab.servers.l7.engine.snapshot import take

FLAGS = ControllerFlags(
    without_class=True, config_map="ingress-nginx/ingress-nginx-controller", default_backend=""
)
_SECONDS = count()
"""Of when Ingresses were made: the first that a test makes is the oldest."""
SERVERS = {"web": "10.244.1.2:8080", "other": "10.244.1.3:8080", "errors": "10.244.1.4:8080"}
SERVICES = [
    raw_service("empty", clusterIP="10.96.0.9"),
    *(raw_service(name, clusterIP=f"10.96.0.{n}") for n, name in enumerate(SERVERS, 5)),
    *(raw_slice(name, address.partition(":")[0]) for name, address in SERVERS.items()),
]


def config_map(name: str, namespace: str = "default", **data: str) -> Object:
    """A ConfigMap; keys are given with `_` for `-`."""
    texts = {key.replace("_", "-"): text for key, text in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return Object({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": texts})


def ingress(
    *paths: tuple[str, ...], host: str = "a.test", name: str = "shop", spec: Any = (), **annotations: str
) -> Object:
    """An Ingress, younger than the one before it.

    Paths are a path, a Service, and the type if it isn't ImplementationSpecific.
    """
    found = [
        {
            "path": path,
            "pathType": kind[0] if kind else "ImplementationSpecific",
            "backend": {"service": {"name": service, "port": {"number": 80}}},
        }
        for path, service, *kind in paths or (("/", "web", "Prefix"),)
    ]
    texts = {PREFIX + key.replace("_", "-"): text for key, text in annotations.items()}
    rule = {"http": {"paths": found}, **({"host": host} if host else {})}
    return Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {
                "name": name,
                "namespace": "default",
                "annotations": texts,
                "creationTimestamp": f"2026-11-29T12:00:00.{next(_SECONDS):06}Z",
            },
            "spec": {"rules": [rule], **dict(spec)},
        }
    )


def planned(*objects: Object, flags: ControllerFlags = FLAGS, **settings: str) -> L7Config:
    """What the proxy is told of objects; `settings` are of the controller's ConfigMap."""
    told = config_map("ingress-nginx-controller", "ingress-nginx", **settings)
    there = Objects([*system_objects(Cluster()), *SERVICES, told, *objects])
    config = ingress_config(PlanSource.of(there), Cluster(ingress_upstream="endpoints"), flags)
    assert from_json(L7Config, to_json(config)) == config
    return config


def served(
    *objects: Object, scheme: str = "http", told: bool = False, lines: int = 0, flags: ControllerFlags = FLAGS,
    **settings: str,
) -> Script:  # fmt: skip
    """The proxy, with one client."""
    snapshot = take(planned(*objects, flags=flags, **settings), {})
    play = Script(snapshot, scheme=scheme, told=told, lines=lines)
    play.skip()
    return play


def warnings(*objects: Object) -> list[str]:
    """What is said of Ingresses, without the places."""
    there = Objects([*system_objects(Cluster()), *SERVICES, *objects])
    classes = IngressClasses.among(there, Cluster())
    said = unheeded([o for o in objects if o.kind == "Ingress"], classes, objects=there)
    return [line.partition("metadata.annotations[")[2].removeprefix(PREFIX) for line in said]


def ask(
    play: Script, target: str, *fields: str, host: str = "a.test", method: str = "GET", body: bytes = b""
) -> None:
    """The client asks."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    play.client("\r\n".join([*lines, "", ""]).encode() + body)


def forwarded(play: Script, target: str, *fields: str, **asked: Any) -> tuple[str, list[str]]:
    """The request line and the fields that the upstream gets; the proxy waits for its answer."""
    ask(play, target, *fields, **asked)
    play.connected()
    (data,) = (argument for word, argument in play.taken() if word == "forward")
    start, *lines = data.decode("latin-1").partition("\r\n\r\n")[0].split("\r\n")
    return start, lines


def server(play: Script, target: str, **asked: Any) -> str:
    """Whom a request goes to: the Service, or the status of an answer of the proxy's own."""
    ask(play, target, **asked)
    names = {address: name for name, address in SERVERS.items()}
    word, argument = next((word, argument) for word, argument in play.taken() if word in ("select", "send"))
    if word == "select":
        play.connected()
        play.upstream(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        play.skip()
        return names[argument]
    return str(argument.split(b" ")[1].decode())


def answered(
    play: Script, *fields: str, status: str = "200 OK", body: bytes = b""
) -> tuple[str, list[str], bytes]:
    """The status, the fields and the body that the client gets of an upstream's answer."""
    head = "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""])
    play.upstream(head.encode("latin-1") + body)
    return sent(play)


def sent(play: Script) -> tuple[str, list[str], bytes]:
    """What was sent to the client."""
    data = b"".join(argument for word, argument in play.taken() if word == "send")
    head, _, rest = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    return start.split()[1], lines, rest


def own(play: Script, target: str, *fields: str, **asked: Any) -> tuple[str, dict[str, str]]:
    """Status and fields of an answer of the proxy's own; no upstream is asked."""
    ask(play, target, *fields, **asked)
    assert not any(word == "select" for word, _ in play.machine.commands)
    status, lines, _ = sent(play)
    return status, dict(line.split(": ", 1) for line in lines)


def values(lines: list[str], name: str) -> list[str]:
    """The values of a field."""
    return [line.partition(": ")[2] for line in lines if line.lower().startswith(name.lower() + ":")]

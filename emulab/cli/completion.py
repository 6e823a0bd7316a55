"""Completion of command lines in a shell: argcomplete asks the parser, and the lab for what it has.

Nothing of this is loaded but by a shell that asks (argcomplete's variable says so) and by `emulab completion`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Container, Iterable
from typing import Any

from argcomplete import autocomplete
from argcomplete.completers import FilesCompleter, SuppressCompleter
from argcomplete.lexers import split_line

from emulab.cli.kinds import find
from emulab.errors import UserError
from emulab.kinds.cells import Raw
from emulab.kinds.kind import SCALABLE, WORKLOAD, Kind
from emulab.kinds.registry import KINDS, NAMESPACE, NODE, POD
from emulab.lab.client.client import LabClient, connect
from emulab.lab.folders import rundir

Parsed = argparse.Namespace
_WITH_PODS = ("logs", "port-forward")
_PLACES = ("exec", "logs", "trace", "timing", "cert", "traceroute", "connections", "monitor", "capture")


def answer(parser_of: Callable[[str], argparse.ArgumentParser], verbs: Container[str]) -> None:
    """Answers what the shell asks, and exits."""
    line, point = os.environ.get("COMP_LINE", ""), int(os.environ.get("COMP_POINT") or 0)
    words = split_line(line, point)[3]
    verb = next((word for word in words[1:] if word in verbs), "")
    parser = parser_of(verb)
    for action in _actions(parser):
        completer = _COMPLETERS.get(action.dest)
        if completer is not None:
            action.completer = completer  # type: ignore[attr-defined]
    autocomplete(parser, always_complete_options=False, default_completer=SuppressCompleter())


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in dict.fromkeys(action.choices.values()):
                yield from _actions(child)


def _lab(parsed: Parsed) -> LabClient:
    return connect(getattr(parsed, "lab", None) or os.environ.get("EMULAB_LAB") or "default")


def _names(parsed: Parsed, kind: Kind) -> list[str]:
    """The names of objects of a kind, as far as the lab is up and says them."""
    namespace = (getattr(parsed, "namespace", None) or "default") if kind.namespaced else ""
    try:
        with _lab(parsed) as client:
            found: list[Raw] = client.request("get", group=kind.group, kind=kind.kind, namespace=namespace)
    except (UserError, OSError):
        return []
    return sorted(o["metadata"]["name"] for o in found)


def _labs(**_: Any) -> list[str]:
    return [path.name for path in rundir.labs()]


def _namespaces(parsed_args: Parsed, **_: Any) -> list[str]:
    return _names(parsed_args, NAMESPACE)


def _objects(prefix: str, parsed_args: Parsed, **_: Any) -> list[str]:
    """`KIND`, `KIND NAME` or `KIND/NAME`; of `rollout`, `scale` and `top`, kinds that have such a thing alone."""
    kind, slash, _name = prefix.partition("/")
    if slash:
        return [f"{kind}/{name}" for name in _names(parsed_args, find(kind))]
    before = [word for word in getattr(parsed_args, "what", None) or () if word != prefix]
    if before and "/" not in before[0]:
        return _names(parsed_args, find(before[0].partition(",")[0]))
    category = {"rollout": WORKLOAD, "scale": SCALABLE}.get(parsed_args.verb)
    kinds = KINDS.of(category) if category else list(KINDS)
    if parsed_args.verb == "top":
        kinds = [POD, NODE]
    return [kind.plural for kind in kinds]


def _targets(prefix: str, parsed_args: Parsed, **_: Any) -> list[str]:
    """Pods, `KIND/NAME`, and places for those verbs that take them."""
    kind, slash, _name = prefix.partition("/")
    if slash:
        return [f"{kind}/{name}" for name in _names(parsed_args, find(kind))]
    found = [*_names(parsed_args, POD), "pod/", "deploy/"]
    if parsed_args.verb in _WITH_PODS:
        found.append("svc/")
    if parsed_args.verb in _PLACES:
        with _lab(parsed_args) as client:
            places = client.request("summary")["places"]
        found += [place for place in places if "." not in place]  # Pods' have their Namespace before a dot
    return found


def _containers(parsed_args: Parsed, **_: Any) -> list[str]:
    name = str(getattr(parsed_args, "target", None) or "").rpartition("/")[2]
    namespace = getattr(parsed_args, "namespace", None) or "default"
    with _lab(parsed_args) as client:
        pods: list[Raw] = client.request("get", group="", kind="Pod", namespace=namespace, name=name)
    fields = ("containers", "initContainers")
    names = (c["name"] for pod in pods for field in fields for c in pod["spec"].get(field) or ())
    return list(dict.fromkeys(names))


def _images(prefix: str, parsed_args: Parsed, **_: Any) -> Iterable[str]:
    """Archives to load, or names of images that are loaded."""
    if parsed_args.action == "load":
        found: Iterable[str] = FilesCompleter(("tar", "gz", "tgz", "zst", "oci"))(prefix)
        return found
    from emulab.lab.images.home import images_folder  # here: who completes nothing of images needs none of it
    from emulab.lab.images.store import ImageStore

    return ImageStore(images_folder()).names()


_COMPLETERS: dict[str, Callable[..., Iterable[str]]] = {
    "lab": _labs,
    "namespace": _namespaces,
    "what": _objects,
    "about": _objects,
    "target": _targets,
    "source": _targets,
    "sources": _targets,
    "destinations": _targets,
    "targets": _targets,
    "pods": _targets,
    "container": _containers,
    "images": _images,
    "files": FilesCompleter(("yaml", "yml", "json")),
}
"""By what an argument is called in the parsers of all verbs."""

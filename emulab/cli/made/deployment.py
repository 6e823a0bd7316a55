"""What `kubectl create deployment` makes (create_deployment.go)."""

from __future__ import annotations

import argparse

from emulab.cli.creating import placed
from emulab.cli.made import words
from emulab.cli.usage import UsageError
from emulab.kinds.registry import DEPLOYMENT

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any


def manifest(options: argparse.Namespace) -> dict[str, Any]:
    (name,) = words(options, 1, "image", "replicas", "port", "command")
    if not options.image:
        raise UsageError('required flag(s) "image" not set')
    if len(options.image) > 1 and options.command:
        raise UsageError("cannot specify multiple --image options and command")
    containers: list[dict[str, Any]] = [{"image": image, "name": _name_of(image)} for image in options.image]
    if options.command:
        containers[0]["command"] = options.command
    if options.port is not None:
        containers[0]["ports"] = [{"containerPort": options.port}]
    labels = {"app": name}
    spec = {
        "replicas": 1 if options.replicas is None else options.replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": dict(labels)}, "spec": {"containers": containers}},
    }
    return {**placed(DEPLOYMENT, name, options.namespace, labels), "spec": spec}


def _name_of(image: str) -> str:
    """A container's name: the image's last word, without its tag or digest."""
    last = image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    return last.replace("_", "-").replace(".", "-").lower()

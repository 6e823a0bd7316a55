"""How long containers take to come: stand-ins, programs and images, a hundred at once and one by one."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks import smallimage
from benchmarks.labs import Labs
from emulab.bench.figures import FigureRow

HERE = Path(__file__).resolve().parent
MANY = 100
IMAGE = "bench/sleep:1"
KINDS: dict[str, dict[str, Any]] = {
    "stand-ins": {"image": "busybox"},
    "commands": {"image": "busybox", "command": ["sleep", "infinity"]},
    "images": {"image": IMAGE, "args": ["infinity"]},
}
"""What the containers of a lab run: a stand-in, a program of this machine's, and that of an image."""


def prepare(labs: Labs) -> None:
    """Builds and loads the image. The layer is unpacked once, whatever runs it."""
    archive = labs.folder / "sleep.tar"
    archive.write_bytes(smallimage.build(IMAGE, "sleep"))
    labs.command("image", "load", str(archive))


def measure(labs: Labs, samples: defaultdict[str, list[float]]) -> None:
    """One round of all of it."""
    for kind, container in KINDS.items():
        path = labs.write(f"{kind}.yaml", _deployment(container))
        samples[f"many {kind}"].append(labs.command("up", path)[0])
        labs.command("down")
    one = [json.dumps(container) for container in KINDS.values()]
    stand_in, program, image = labs.output([sys.executable, str(HERE / "onepod.py"), "1", *one])
    samples["one stand-in"].append(stand_in * 1000)
    samples["one program"].append(program * 1000)
    samples["one image"].append(image * 1000)
    samples["one more"].append((program - stand_in) * 1000)
    samples["image more"].append((image - stand_in) * 1000)


def rows(samples: dict[str, list[float]]) -> list[FigureRow]:
    """What was measured, with the goals."""
    return [
        FigureRow(f"emulab up: {MANY} stand-ins", tuple(samples["many stand-ins"]), "s"),
        FigureRow(f"emulab up: {MANY} programs, each run for 1 s", tuple(samples["many commands"]), "s", 5.0),
        FigureRow(f"emulab up: {MANY} images, each run for 1 s", tuple(samples["many images"]), "s", 5.0),
        FigureRow("one more Pod Ready, of a stand-in", tuple(samples["one stand-in"]), "ms"),
        FigureRow("one more Pod Ready, of a program", tuple(samples["one program"]), "ms"),
        FigureRow("one more Pod Ready, of an image", tuple(samples["one image"]), "ms"),
        FigureRow("  a program later than a stand-in", tuple(samples["one more"]), "ms", 40.0),
        FigureRow("  an image later than a stand-in", tuple(samples["image more"]), "ms", 40.0),
    ]


def _deployment(container: dict[str, Any]) -> str:
    spec = {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", **container}]}
    template = {"metadata": {"labels": {"app": "many"}}, "spec": spec}
    wanted = {"replicas": MANY, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    return json.dumps(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": wanted}
    )

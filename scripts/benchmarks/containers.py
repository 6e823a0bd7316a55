"""How long containers take to come: stand-ins and programs, a hundred at once and one by one."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks.labs import Labs
from benchmarks.report import Row

HERE = Path(__file__).resolve().parent
MANY = 100
KINDS = {"stand-ins": [], "commands": ["sleep", "infinity"]}
"""What the containers of a lab run: a stand-in where there is no command."""


def measure(labs: Labs, samples: defaultdict[str, list[float]]) -> None:
    """One round of all of it."""
    for kind, command in KINDS.items():
        path = labs.write(f"{kind}.yaml", _deployment(command))
        samples[f"many {kind}"].append(labs.command("up", path)[0])
        labs.command("down")
    stand_in, program = labs.output([sys.executable, str(HERE / "onepod.py"), "1"])
    samples["one stand-in"].append(stand_in * 1000)
    samples["one program"].append(program * 1000)
    samples["one more"].append((program - stand_in) * 1000)


def rows(samples: dict[str, list[float]]) -> list[Row]:
    """What was measured, with the goals."""
    return [
        Row(f"emulab up: {MANY} stand-ins", tuple(samples["many stand-ins"]), "s"),
        Row(f"emulab up: {MANY} programs, each run for 1 s", tuple(samples["many commands"]), "s", 5.0),
        Row("one more Pod Ready, of a stand-in", tuple(samples["one stand-in"]), "ms"),
        Row("one more Pod Ready, of a program", tuple(samples["one program"]), "ms"),
        Row("  a program later than a stand-in", tuple(samples["one more"]), "ms", 40.0),
    ]


def _deployment(command: list[str]) -> str:
    container = {"name": "c", "image": "busybox", **({"command": command} if command else {})}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    template = {"metadata": {"labels": {"app": "many"}}, "spec": spec}
    wanted = {"replicas": MANY, "selector": {"matchLabels": {"app": "many"}}, "template": template}
    return json.dumps(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": wanted}
    )

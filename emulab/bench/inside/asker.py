"""Who asks. Reads orders, a line of JSON each, and answers each with one or more; the end of its input ends it.

    {"do": "single" | "closed" | "opened", "goal": {…}, …}     →  {"piece": …} …  {"result": …} | {"error": …}

It keeps to the processors that it is told, and no order lasts longer than its own `seconds` and `wait`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any

from emulab.bench.inside.closed import closed
from emulab.bench.inside.opened import opened
from emulab.bench.inside.single import single
from emulab.bench.inside.wires import Goal


def _say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def _carry_out(order: dict[str, Any]) -> dict[str, object]:
    do, goal = order.pop("do"), Goal(**order.pop("goal"))
    if do == "single":
        return single(goal, **order)
    if do == "closed":
        return closed(goal, **order)
    if do == "opened":
        return opened(goal, **order, tell=lambda piece: _say(piece=piece))
    raise ValueError(f"{do!r} is no order")


def main(processors: str) -> None:
    """`processors`: their numbers with commas; none: all."""
    if processors:
        os.sched_setaffinity(0, {int(one) for one in processors.split(",")})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _say(result={"pid": os.getpid()})
    for line in sys.stdin:
        try:
            _say(result=_carry_out(json.loads(line)))
        except (OSError, ValueError, TypeError, KeyError) as error:
            _say(error=getattr(error, "strerror", None) or str(error) or type(error).__name__)

"""What came of a benchmark by turns: a value with all its samples, for tables, programs and pages. Pure."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from emulab.bench.ledger import PathLayer
from emulab.bench.rounds import WaySamples
from emulab.bench.turns import TurnVerdict
from emulab.dataclass import dataclass, field

VERSION = 1
REFERENCE = "loopback"
"""The way that is nothing but this machine: by it figures of two runs are compared."""


@dataclass(frozen=True, slots=True)
class BenchOutcome:
    """`subjects` in the order in which they are told; of a ledger there is one, with its layers."""

    benchmark: str  # path | compare | overlay
    subjects: Sequence[str]
    samples: WaySamples
    rounds: int
    seconds: float
    verdict: TurnVerdict
    seed: int
    machine: str
    layers: Sequence[PathLayer] = ()
    ways: Mapping[str, str] = field(default_factory=dict)  # what each way is, in a sentence
    notes: Sequence[str] = ()


def machine(labs: Sequence[int], asking: Sequence[int]) -> str:
    """What was measured on, in a line."""
    where = f"labs on {_numbers(labs)}, who asks on {_numbers(asking)}"
    load = " ".join(f"{number:.1f}" for number in os.getloadavg())
    about = f"{os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    return f"{about}; {where}; load {load}"


def _numbers(processors: Sequence[int]) -> str:
    return f"CPU {','.join(map(str, processors))}"


def why(verdict: TurnVerdict, rounds: int, seconds: float) -> str:
    """Why no further round was begun, in a line."""
    said = f"{rounds} rounds in {seconds:.0f} s"
    if verdict.why == "narrow":
        return f"{said}; every interval is narrow enough"
    reason = "the time was up" if verdict.why == "time" else "as many as there may be"
    if not verdict.wide:
        return f"{said}; {reason}, and every interval is narrow enough"
    listed = ", ".join(verdict.wide[:4]) + (", …" if len(verdict.wide) > 4 else "")
    return f"{said}; {reason}, and the machine is too noisy for a narrower interval of {listed}"


def head(outcome: BenchOutcome) -> dict[str, Any]:
    """What all documents begin with."""
    return {
        "benchmark": outcome.benchmark,
        "version": VERSION,
        "machine": outcome.machine,
        "seed": outcome.seed,
        "rounds": outcome.rounds,
        "seconds": round(outcome.seconds, 3),
        "stopped": {"why": outcome.verdict.why, "wide": list(outcome.verdict.wide)},
        "ways": dict(outcome.ways),
        "samples": outcome.samples,
        "notes": list(outcome.notes),
    }

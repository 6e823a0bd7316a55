"""What emulab wants of kernel and machine, as `emulab doctor` tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from emulab.dataclass import dataclass
from emulab.errors import EmulabError

KERNEL_MODULES = "use a kernel with {} (Debian: linux-image-amd64, not -cloud-; containers use their host's)"


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that emulab wants of kernel and machine. `problem` is empty when it is there."""

    name: str
    purpose: str
    required: bool
    remedy: str
    problem: str = ""

    @property
    def state(self) -> str:
        return "ok" if not self.problem else "missing" if self.required else "optional"


def tried(check: Feature, work: Callable[[], object]) -> Feature:
    """A feature with what came of a try of it."""
    try:
        work()
    except (EmulabError, OSError) as error:
        return replace(check, problem=str(error))
    return check


def as_data(check: Feature) -> dict[str, Any]:
    """A feature as JSON-able data."""
    return {**asdict(check), "state": check.state}

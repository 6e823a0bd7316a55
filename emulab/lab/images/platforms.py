"""For which machines an image is: names of the Go toolchain, as the OCI's image index has them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}
_OPTIONAL = {"arm64": "v8"}  # the variant that is meant where none is said


class Platform(NamedTuple):
    system: str
    machine: str
    variant: str = ""

    @staticmethod
    def of(described: Mapping[str, Any]) -> Platform:
        system, machine, variant = (
            str(described.get(key) or "") for key in ("os", "architecture", "variant")
        )
        return Platform(system, machine, variant or _OPTIONAL.get(machine, ""))

    def __str__(self) -> str:
        said = () if self.variant == _OPTIONAL.get(self.machine, "") else (self.variant,)
        return "/".join((self.system or "unknown", self.machine or "unknown", *said))

    def runs(self, other: Platform) -> bool:
        """Whether programs for another platform run on this one: those of an older variant do (arm)."""
        same = (self.system, self.machine) == (other.system, other.machine)
        return same and (not other.variant or other.variant <= self.variant)


def here() -> Platform:
    """This machine's."""
    machine = os.uname().machine
    return Platform("linux", *_MACHINES.get(machine, (machine, "")))

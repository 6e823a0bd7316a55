"""One exercise, as its file tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from emulab.errors import UserError
from emulab.exercises.checks import Trial, read_trial


class Breakage(NamedTuple):
    """One way in which an exercise's lab is broken: manifests, commands of places, and what is applied `then`; and how
    it is mended.

    `mend`: command lines of emulab, without `emulab` and `-l`; `{file}` is a file with `manifest`.
    """

    apply: str
    run: tuple[tuple[str, str], ...]  # place, command for its shell
    solution: str
    mend: tuple[str, ...]
    manifest: str
    then: str = ""  # manifests


class Exercise(NamedTuple):
    name: str
    title: str
    task: str
    hints: tuple[str, ...]
    breakages: tuple[Breakage, ...]
    checks: tuple[Trial, ...]
    world: str  # manifests

    def drawn(self, seed: int) -> Breakage:
        """The way in which it is broken for a seed."""
        return self.breakages[seed % len(self.breakages)]


def read_exercise(path: Path) -> Exercise:
    """Raises UserError for a file that is none."""
    try:
        head, _, world = path.read_text().partition("\n---\n")
        o = yaml.safe_load(head)
        if not isinstance(o, Mapping) or o.get("kind") != "Exercise":
            raise UserError(f"{path}: its first document is no Exercise")
        spec = o["spec"]
        return Exercise(
            o["metadata"]["name"],
            spec["title"],
            spec["task"].strip(),
            tuple(hint.strip() for hint in spec["hints"]),
            tuple(_breakage(raw) for raw in spec["broken"]),
            tuple(map(read_trial, spec["checks"])),
            world,
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{path}: {error!r}") from None


def _breakage(raw: Mapping[str, Any]) -> Breakage:
    run: Sequence[Mapping[str, str]] = raw.get("run") or ()
    return Breakage(
        raw.get("apply") or "",
        tuple((one["at"], one["command"]) for one in run),
        raw["solution"].strip(),
        tuple(raw.get("mend") or ()),
        raw.get("manifest") or "",
        raw.get("then") or "",
    )

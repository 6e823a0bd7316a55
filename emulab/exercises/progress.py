"""How far somebody is with the exercise that a lab is: kept in the lab's folder, and gone with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from emulab.errors import UserError
from emulab.lab.folders import rundir

_FILE = "exercise.json"


class ExerciseProgress(NamedTuple):
    name: str
    seed: int
    hints: int = 0  # that were given


def _path(lab: str) -> Path:
    return rundir.folder(lab) / _FILE


def write(lab: str, progress: ExerciseProgress) -> None:
    _path(lab).write_text(json.dumps(progress._asdict()))


def read(lab: str) -> ExerciseProgress:
    """Raises UserError where the lab is no exercise."""
    try:
        return ExerciseProgress(**json.loads(_path(lab).read_text()))
    except (OSError, ValueError, TypeError):
        raise UserError(f"lab {lab} is no exercise; begin one: emulab lab start NAME") from None

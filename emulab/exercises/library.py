"""Where exercises are: `topologies/exercises` of the checkout, or below the folder that one works in."""

from __future__ import annotations

from pathlib import Path

from emulab.errors import UserError
from emulab.exercises.exercise import Exercise, read_exercise
from emulab.model.suggestions import suggest

FOLDER = Path("topologies") / "exercises"
_CHECKOUT = Path(__file__).resolve().parents[2]


def names() -> list[str]:
    """All that there are, in their order: files are numbered."""
    return [_name(path) for path in _files()]


def exercise(name: str) -> Exercise:
    """The exercise of that name. Raises UserError."""
    for path in _files():
        if name in (_name(path), path.stem):
            return read_exercise(path)
    raise UserError(f"there is no exercise {name!r}; {suggest(name, names())}")


def _files() -> list[Path]:
    for base in (_CHECKOUT, Path.cwd()):
        if found := sorted((base / FOLDER).glob("*.yaml")):
            return found
    raise UserError(f"there are no exercises: they are in {FOLDER} of a checkout of emulab")


def _name(path: Path) -> str:
    return path.stem.partition("-")[2]

"""Values in messages as their manifest spells them.

YAML reads `y` and `off` as booleans and `1.0` as the number 1: who is told that `false` is no name, and wrote `n`,
looks for it in vain. What stands there is read only once something is wrong with it, as texts need more room than
values.
"""

from __future__ import annotations

from typing import Any

from emulab.cluster.admission.reading import Origin, read_again
from emulab.dataclass import dataclass, field
from emulab.model.checks import show
from emulab.model.paths import FieldPath
from emulab.model.sources import Source


@dataclass(slots=True)
class Spelling:
    """What stands in the sources that something was wrong with."""

    validation: str
    written: dict[int, dict[Origin, Any]] = field(default_factory=dict)  # by the number of a source

    def told(self, origin: Origin, source: Source, data: Any, path: FieldPath, why: str) -> str:
        """What is wrong at a path of an object, with the value that it begins with as the source has it."""
        value = _value(data, path)
        if not isinstance(value, bool | int | float) or not why.startswith(read := f"{show(value)} "):
            return why
        spelt = _value(self._objects(origin[0], source).get(origin), path)
        if type(spelt) is not str or spelt == read.rstrip():
            return why
        return f"{spelt} (read as {show(value)}) {why.removeprefix(read)}"

    def _objects(self, number: int, source: Source) -> dict[Origin, Any]:
        if number not in self.written:
            again = read_again(number, source, self.validation, as_written=True)
            self.written[number] = {origin: data for origin, _, data in again}
        return self.written[number]


def _value(data: Any, path: FieldPath) -> Any:
    """What stands at a path, or None. Keys that YAML doesn't read as texts aren't found as they are written."""
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data

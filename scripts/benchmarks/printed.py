"""Prints what was measured, as `emulab.bench.figures` has it: a table, or one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from emulab.bench.figures import FigureRow, document, table


def show(
    rows: Sequence[FigureRow], notes: Sequence[str], as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    """`more`: what only the document has."""
    print(json.dumps(document(rows, notes, more), indent=1) if as_json else table(rows, notes))

"""Benchmarks on the screen: their tables, and how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from emulab.cli.output.outlet import beneath
from emulab.cli.output.table import table
from emulab.observe.telling.escapes import printable

if TYPE_CHECKING:
    from emulab.bench.report import ReportTable


def shown(tables: Sequence[ReportTable], about: str) -> str:
    """All tables below each other, and what was measured on."""
    parts = [about]
    for one in tables:
        lines = [one.title] if one.title else []
        if one.rows:
            lines.append(table(one.header, one.rows))
        parts.append("\n".join([*lines, *map(printable, one.notes)]))
    return "\n\n".join(part for part in parts if part)


@contextmanager
def bar(title: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr, told what is done and which share of all is; nothing when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _, __: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    shape = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
    )
    console = Console(file=beneath(sys.stderr))
    with Progress(
        *shape, TimeElapsedColumn(), console=console, transient=True, refresh_per_second=4
    ) as progress:
        task = progress.add_task(f"{title} …", total=1.0)
        yield lambda text, share: progress.update(
            task, description=f"{title}: {printable(text)[:48]}", completed=min(share, 1.0)
        )

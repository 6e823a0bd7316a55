"""What is being done, for whoever waits at a terminal; nothing when stderr isn't one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr that shows the texts it is given. It has left the screen, and its thread ended, after."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status(f"{title} …") as status:
        yield lambda text: status.update(f"{title}: {text} …")

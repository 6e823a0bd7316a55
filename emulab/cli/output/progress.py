"""What is being done, for whoever waits at a terminal; nothing when stderr isn't one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from emulab.cli.output.outlet import beneath
from emulab.observe.telling.escapes import printable


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr that shows the texts it is given. It has left the screen, and its thread ended, after."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.text import Text

    def shown(text: str) -> Text:  # not a plain text, in which [words] would be markup
        return Text(f"{printable(text)} …")

    with Console(file=beneath(sys.stderr)).status(shown(title)) as status:
        yield lambda text: status.update(shown(f"{title}: {text}"))

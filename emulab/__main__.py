"""The command `emulab`, which is `python -m emulab`: `cli.main` in a process that does nothing else.

Cycles are hardly looked for, and the process ends without taking itself apart: together that was a fifth of the time
that `emulab exec` took. What a verb has begun it ends itself.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import NoReturn

_COLLECTING = (100_000, 10, 10)
"""The garbage collector's thresholds: 700 new objects are the first one else, and an import makes thousands."""


def run() -> NoReturn:
    """The console's entry point."""
    gc.set_threshold(*_COLLECTING)
    from emulab.cli import main

    try:
        status = main()
    except SystemExit as ended:  # of argparse, which has printed all it has to say
        status = ended.code if isinstance(ended.code, int) else 0
    with suppress(OSError, AttributeError):  # nobody is there to be told
        sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()

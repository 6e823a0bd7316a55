"""A Namespace, of which there is nothing to say but its name."""

from __future__ import annotations

import argparse

from emulab.cli.creating import placed
from emulab.cli.made import words
from emulab.kinds.registry import NAMESPACE

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any


def manifest(options: argparse.Namespace) -> dict[str, Any]:
    (name,) = words(options, 1)
    return placed(NAMESPACE, name, options.namespace)

"""Manifests named on the command line, as requests carry them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from emulab.model.loader import Source, read_sources

STDIN = "-"


def read(files: Sequence[str]) -> list[Source]:
    """The texts of all files and folders; `-` is stdin. Raises UserError."""
    sources: list[Source] = []
    for file in files:
        if file == STDIN:
            sources.append(Source.of_bytes("(stdin)", sys.stdin.buffer.read()))
        else:
            sources += read_sources([Path(file)])
    return sources


def pairs(sources: Sequence[Source]) -> list[list[str]]:
    """Sources as JSON: [[name, text], …]."""
    return [[source.name, source.text] for source in sources]


def warn(warnings: Sequence[str]) -> None:
    """Prints what looks odd in manifests."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)

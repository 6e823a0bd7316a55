"""Manifests named on the command line, as requests carry them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from emulab.cli.usage import Kustomized
from emulab.errors import ManifestError, UserError
from emulab.model.sources import MAX_BYTES, Source, read_sources

STDIN = "-"
URLS = ("http://", "https://")


def read(files: Sequence[str]) -> list[Source]:
    """The texts of all files and folders; `-` is stdin, and of some folders kustomize makes them. Raises UserError."""
    sources: list[Source] = []
    for file in files:
        if isinstance(file, Kustomized):
            from emulab.cli.kustomizing import made  # here: few command lines have one

            sources.append(made(file))
            continue
        if file.startswith(URLS):
            raise UserError(
                f"{file}: a lab fetches nothing; write - for it, and pipe it in: curl -fsSL {file} | emulab …"
            )
        if not file:  # as of a shell's variable that isn't set: Path("") is the current folder
            raise UserError("the name of a manifest is empty")
        if file == STDIN:
            sources.append(Source.of_bytes("(stdin)", _stdin()))
        else:
            sources += read_sources([Path(file)])
    return sources


def _stdin() -> bytes:
    if sys.stdin is None:
        raise UserError("(stdin): it is closed")
    try:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"(stdin): {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"(stdin): larger than {MAX_BYTES >> 20} MiB")
    return data


def pairs(sources: Sequence[Source]) -> list[list[str]]:
    """Sources as JSON: [[name, text], …]."""
    return [[source.name, source.text] for source in sources]


def warn(warnings: Sequence[str], notes: Sequence[str] = ()) -> None:
    """Prints what looks odd in manifests, and what else is to be said of them."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def warn_of(warnings: Sequence[str], notes: Sequence[str], strict: bool) -> None:
    """Prints what is to be said of manifests. Raises ManifestError with it instead, where that is strict."""
    if strict and (warnings or notes):
        raise ManifestError([*warnings, *notes])
    warn(warnings, notes)

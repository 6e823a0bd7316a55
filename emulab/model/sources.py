"""From files to texts of manifests, which is all that a command does with them: what they say is the lab's to check."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from emulab.errors import ManifestError, UserError

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
"""Files of a folder that are manifests."""

KUSTOMIZATIONS = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
"""The names that kustomize knows (`RecognizedKustomizationFileNames`): such a file says what to make of others."""

KUSTOMIZE = "kustomize.config.k8s.io"
"""The API group of what such a file says."""

HELM_CHART = "Chart.yaml"
"""What makes a folder a Helm chart, whose templates are no manifests yet."""

MAX_BYTES = 64 << 20
"""Bytes of one file: far above any manifest, and far below what would hurt."""


class Source(NamedTuple):
    """One text of manifests, and the name that errors give it."""

    name: str
    text: str

    @staticmethod
    def of_bytes(name: str, data: bytes) -> Source:
        """The text in `data`. Raises ManifestError where it is not UTF-8."""
        try:
            return Source(name, data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ManifestError([f"{name}:{line}: this is not text in UTF-8"]) from None


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """The files at `paths`, and every manifest inside those that are folders, sorted by name.

    Raises UserError for what cannot be read, for a folder without manifests, for a kustomization and a Helm chart.
    """
    return [_read(file) for path in paths for file in _files(path)]


def _files(path: Path) -> list[Path]:
    try:
        if not path.is_dir():
            _refuse_recipes([path])
            return [path]
        there = [file for file in path.rglob("*") if file.is_file()]
        _refuse_recipes(there)
        files = sorted(file for file in there if file.suffix in SUFFIXES)
    except OSError as error:
        raise UserError(f"{_shown(path)}: {error.strerror}") from None
    if not files:
        raise UserError(f"{_shown(path)}: no manifests (*.yaml, *.yml, *.json) in this folder")
    return files


def _refuse_recipes(files: Sequence[Path]) -> None:
    """Refuses what says how manifests are made, where one is."""
    for file in files:
        folder = _shown(file.parent)
        if file.name in KUSTOMIZATIONS:
            raise UserError(
                f"{_shown(file)}: this is a kustomization; write -k {folder},"
                f" or - and pipe in what it makes: kubectl kustomize {folder} | emulab …"
            )
        if file.name == HELM_CHART:
            raise UserError(
                f"{_shown(file)}: this is a Helm chart; write - and pipe in what it makes:"
                f" helm template {folder} | emulab …"
            )


def _shown(path: Path) -> str:
    """A path as messages begin with it: on one line, whatever its name holds."""
    return str(path).replace("\n", r"\n")


def _read(path: Path) -> Source:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{_shown(path)}: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise UserError(f"{str(path)!r}: {error}") from None
    if len(data) > MAX_BYTES:
        raise UserError(f"{_shown(path)}: larger than {MAX_BYTES >> 20} MiB")
    return Source.of_bytes(_shown(path), data)

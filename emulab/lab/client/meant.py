"""What a caller from Python means by kinds, names and manifests; what can't be meant is refused in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emulab.errors import UserError
from emulab.kinds.kind import Kind
from emulab.kinds.registry import KINDS


def text_meant(what: str, value: object, empty: bool = False) -> str:
    """The text of an argument, which may be empty if `empty`. Raises UserError."""
    if not isinstance(value, str):
        raise UserError(f"{what} is a str, not {'None' if value is None else type(value).__name__}")
    if not value and not empty:
        raise UserError(f"{what} is empty")
    return value


def kind_meant(name: object) -> Kind:
    """The kind of that name. Raises UserError, which suggests another one."""
    word = text_meant("a kind", name)
    kind = KINDS.named(word)
    if kind is None:
        from difflib import get_close_matches

        names = {n.lower(): n for k in KINDS for n in (k.kind, k.plural, *k.short)}
        close = get_close_matches(word.lower().partition(".")[0], names, 1)
        hint = (
            f"did you mean {names[close[0]]!r}?"
            if close
            else f"the kinds are {', '.join(k.kind for k in KINDS)}"
        )
        raise UserError(f"there is no kind {word!r}; {hint}")
    return kind


def sources_meant(manifests: Sequence[str | Path]) -> list[tuple[str, str]]:
    """The texts of manifests: paths, or YAML as `str`. Raises UserError."""
    if not manifests:
        raise UserError("there is no manifest: give paths, or YAML as str")
    sources: list[tuple[str, str]] = []
    for i, manifest in enumerate(manifests, 1):
        sources += read([manifest]) if _is_path(manifest) else [(f"text{i}", str(manifest))]
    return sources


def read(paths: Sequence[str | Path]) -> list[tuple[str, str]]:
    """The texts of files and folders. Raises UserError."""
    from emulab.model.sources import read_sources

    for path in paths:
        if not isinstance(path, str | Path):
            raise UserError(f"a file is a path, not {'None' if path is None else type(path).__name__}")
    return [(s.name, s.text) for s in read_sources([Path(p) for p in paths])]


def _is_path(manifest: str | Path) -> bool:
    """Whether a file is meant: no manifest is one line without a mapping, and no file has no name."""
    if not isinstance(manifest, str | Path):
        raise UserError(f"a manifest is a path, or YAML as str, not {type(manifest).__name__}")
    return isinstance(manifest, Path) or (
        bool(manifest) and not any(m in manifest for m in ("\n", ": ", "{"))
    )

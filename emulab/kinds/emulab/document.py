"""docs/kinds.md: the reference of emulab's own kinds, from their descriptions (`emulab.kinds.emulab.described`)."""

from __future__ import annotations

from collections.abc import Iterator

from emulab.kinds.emulab.described import FIELDS, definition_of, described
from emulab.kinds.emulab.ownfield import OwnField
from emulab.kinds.kind import Kind
from emulab.kinds.registry import CLUSTER, KINDS

_HEAD = """\
# emulab's own kinds

Made by `scripts/document` from the tables beside the kinds; a test holds it equal.

Objects of these kinds change the world around the Kubernetes manifests; none is needed. A field that a kind doesn't
have is an error. `emulab explain KIND.FIELD` says the same in a terminal. [manifests.md](manifests.md) tells what they
are for.
"""
_WORDS = {"int32": "integer", "int-or-string": "integer or string"}


def own_kinds() -> str:
    ours = [kind for kind in KINDS if kind.group == CLUSTER.group]
    return "\n".join([_HEAD, *("\n".join(_section(kind)) for kind in ours)])


def _section(kind: Kind) -> Iterator[str]:
    yield f"## {kind.kind} ({kind.api_version})\n"
    yield f"{described(definition_of(kind))}\n"
    yield "| field | type | default | what it is |\n| --- | --- | --- | --- |"
    for path, own in _rows(definition_of(kind)):
        default = (
            "required" if own.required else f"`{own.default}`" if _is_value(own.default) else own.default
        )
        yield f"| `{path}` | {_type(own.type)} | {default} | {own.text} |"
    yield ""


def _rows(definition: str, above: str = "") -> Iterator[tuple[str, OwnField]]:
    """Every field below a definition, with its path."""
    for name, own in FIELDS[definition].items():
        path = f"{above}{name}"
        yield path, own
        if (inner := own.type.strip("[]")) in FIELDS:
            yield from _rows(inner, f"{path}[]." if own.type.startswith("[") else f"{path}.")


def _is_value(default: str) -> bool:
    return bool(default) and " " not in default.replace(", ", "").replace(": ", "")


def _type(text: str) -> str:
    if text.startswith("["):
        return f"list of {_type(text[1:-1])}s"
    if text.startswith("{"):
        return f"map of {_type(text[1:-1])}s".replace("quantitys", "quantities")
    return "object" if "." in text or text == "ObjectMeta" else _WORDS.get(text, text)

"""Words of `env`, `command` and `args` that name variables. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where the name is known, as Kubernetes does it in env, command and args."""
    result, rest = "", text
    while rest:
        before, dollar, rest = rest.partition("$")
        result += before
        if not dollar:
            break
        if rest.startswith("$"):
            result, rest = result + "$", rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, after = rest[1:].partition(")")
            result += known.get(name, f"$({name})")
            rest = after
        else:
            result += "$"
    return result

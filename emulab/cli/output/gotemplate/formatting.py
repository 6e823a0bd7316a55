"""Values as Go's fmt prints them: `%v`, and what `printf` may ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

NIL = "<nil>"
NO_VALUE = "<no value>"


class _Missing:
    """What a path leads to that isn't there: Go's zero reflect.Value."""

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()

_DIRECTIVE = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d*))?(.)?", re.DOTALL)


class Int64(int):
    """A whole number out of JSON; those of templates are Go's int."""


_SMALLEST, _LARGEST = -4, 6  # powers of ten between which `%v` needs no exponent
_INTEGERS = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b"}


def go_type(value: Any) -> str:
    """The name of a value's type in Go."""
    if value is None or value is MISSING:
        return NIL
    if isinstance(value, Mapping):
        return "map[string]interface {}"
    names: dict[type, str] = {bool: "bool", int: "int", Int64: "int64", float: "float64", str: "string"}
    return names.get(type(value), "[]interface {}")


def plain(value: Any) -> str:
    """A value as `%v` prints it."""
    if value is None or value is MISSING:
        return NIL
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value, "g", None)
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{name}:{plain(value[name])}' for name in sorted(value))}]"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(map(plain, value))}]"
    return str(value)


def printed(value: Any) -> str:
    """A value as an action prints it."""
    return NO_VALUE if value is None or value is MISSING else plain(value)


def joined(values: Sequence[Any]) -> str:
    """As fmt.Sprint: with a space between two of which none is a string."""
    text = ""
    for at, value in enumerate(values):
        spaced = at > 0 and not isinstance(value, str) and not isinstance(values[at - 1], str)
        text += (" " if spaced else "") + plain(value)
    return text


def sprintf(form: str, values: Sequence[Any]) -> str:
    """As fmt.Sprintf; what doesn't fit is told in the text, as there."""
    left = list(values)

    def one(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        text = _formatted(left.pop(0), verb, flags, None if precision is None else int(precision or 0))
        wide = int(width or 0)
        if "-" in flags:
            return text.ljust(wide)
        if "0" in flags and not text.startswith("%!"):
            sign = text[:1] if text[:1] in ("+", "-") else ""
            return sign + text[len(sign) :].rjust(wide - len(sign), "0")
        return text.rjust(wide)

    text = _DIRECTIVE.sub(one, form)
    if not left:
        return text
    extra = ", ".join(NIL if v is None or v is MISSING else f"{go_type(v)}={plain(v)}" for v in left)
    return f"{text}%!(EXTRA {extra})"


def _formatted(value: Any, verb: str, flags: str, precision: int | None) -> str:
    if verb == "v":
        return plain(value)
    if verb == "T":
        return go_type(value)
    if value is None or value is MISSING:
        return f"%!{verb}({NIL})"
    if isinstance(value, Mapping):
        parts = (f"{plain(k)}:{_formatted(v, verb, flags, precision)}" for k, v in sorted(value.items()))
        return f"map[{' '.join(parts)}]"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(_formatted(v, verb, flags, precision) for v in value)}]"
    text = _scalar(value, verb, flags, precision)
    return f"%!{verb}({go_type(value)}={plain(value)})" if text is None else text


def _scalar(value: Any, verb: str, flags: str, precision: int | None) -> str | None:
    """None for what has no such form."""
    if isinstance(value, bool):
        return plain(value) if verb == "t" else None
    if isinstance(value, str):
        cut = value if precision is None else value[:precision]
        if verb == "s":
            return cut
        if verb == "q":
            return json.dumps(cut, ensure_ascii=False)
        return cut.encode().hex() if verb == "x" else cut.encode().hex().upper() if verb == "X" else None
    sign = ("+" if "+" in flags else " " if " " in flags else "") if value >= 0 else ""
    if isinstance(value, int):
        if verb in _INTEGERS:
            return sign + format(value, ("#" if "#" in flags else "") + _INTEGERS[verb])
        return chr(value) if verb == "c" else f"'{chr(value)}'" if verb == "q" else None
    return sign + _float(value, verb, precision) if verb in "feEgGF" else None


def _float(value: float, verb: str, precision: int | None) -> str:
    if verb in "fF":
        return f"{value:.{6 if precision is None else precision}f}"
    if verb in "eE":
        return f"{value:.{6 if precision is None else precision}{verb}}"
    if precision is not None:
        return f"{value:.{precision or 1}{verb}}"
    exact = Decimal(repr(value)).normalize()  # the shortest digits that mean this number
    if not exact.is_finite():
        return f"{value:+}".replace("inf", "Inf").replace("nan", "NaN")
    power = exact.adjusted() if value else 0
    if _SMALLEST <= power < _LARGEST:
        return f"{exact:f}"
    digits = len(exact.as_tuple().digits)
    return (
        f"{exact:.{digits - 1}{'E' if verb == 'G' else 'e'}}"
        if abs(power) > 9
        else _two_digits(exact, digits)
    )


def _two_digits(exact: Decimal, digits: int) -> str:
    """Go's exponents have two digits at least."""
    mantissa, _, power = f"{exact:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{power[0]}{power[1:]:0>2}"

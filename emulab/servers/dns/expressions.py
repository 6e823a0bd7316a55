"""Regular expressions as Go has them (regexp/syntax, RE2), in the words of Python. Pure.

Both have most in common. What Go has beside that is said in Python's words: `[[:alpha:]]`, `\\z`, `\\Q…\\E`, `\\x{2d}`,
`(?<name>…)`, and flags such as `(?i)` anywhere, which hold to the end of their group. What Python alone has is an
error in Go: looking ahead and behind, references back to a group, and repetitions that give nothing back.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN = re.compile(
    r"\\Q(?P<literal>.*?)(?:\\E|\Z)"
    r"|\\x\{(?P<code>[0-9A-Fa-f]{1,6})\}"
    r"|\\(?P<escaped>.)"
    r"|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]"
    r"|\(\?P?<(?P<name>\w+)>"
    r"|\(\?(?P<flags>[imsU]*(?:-[imsU]+)?)(?P<ends>[:)])"
    r"|(?P<brace>\{)(?=,)"
    r"|(?:[*+?]|(?P<counted>\{\d+(?:,\d*)?\}))(?P<more>[?+*]?)"
    r"|.",
    re.DOTALL,
)
_IN_CLASS = re.compile(
    r"\[:(?P<not>\^?)(?P<posix>\w+):\]|\\x\{(?P<code>[0-9A-Fa-f]{1,6})\}|\\(?P<escaped>.)|.", re.DOTALL
)
_NUMBER = re.compile(r"\d+")
_MEANT_IN_CLASS = "[]&|~-"
"""What Python reads as something in a set, or may come to."""
_SETS = tuple("dswDSW")
_MOST_REPEATED = 1000


def expression(text: str) -> re.Pattern[str]:
    """A regular expression of Go's. Raises ValueError."""
    try:
        return re.compile("".join(_translated(text)), re.ASCII)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None


def _translated(text: str) -> Iterator[str]:
    open_flags: list[list[str]] = [[]]  # of each group: what was opened in it for the sake of flags
    for token in _TOKEN.finditer(text):
        said = token[0]
        if said == ")":
            yield ")" * (len(open_flags.pop()) + 1)
            if not open_flags:
                raise ValueError("unexpected )")
        elif said == "|":
            yield ")" * len(open_flags[-1]) + "|" + "".join(open_flags[-1])
        elif token["ends"] == ")":
            open_flags[-1].append(_opening(token, text).replace(")", ":"))
            yield open_flags[-1][-1]
        elif said[0] == "(":
            open_flags.append([])
            yield _opening(token, text)
        else:
            yield _atom(token)
    yield ")" * len(open_flags[0])


def _opening(token: re.Match[str], text: str) -> str:
    """How a group begins, or what holds from here to its end."""
    if token["name"]:
        return f"(?P<{token['name']}>"
    if token["ends"] and "U" in token["flags"]:
        raise ValueError("the flag U isn't followed")
    if token[0] == "(?)" or (token[0] == "(" and text.startswith("(?", token.start())):
        raise ValueError(f"invalid or unsupported Perl syntax: {text[token.start() :][:4]}")
    return token[0]


def _atom(token: re.Match[str]) -> str:
    """What is no group."""
    said = token[0]
    if token["literal"] is not None:
        return re.escape(token["literal"])
    if token["code"]:
        return _character(token["code"])
    if token["escaped"]:
        return _escaped(token["escaped"])
    if token["brace"]:  # `{,3}` is no repetition of Go's
        return r"\{"
    if token["more"] and token["more"] in "+*":
        raise ValueError(f"invalid nested repetition operator: {said}")
    if token["counted"] and any(int(number[:5]) > _MOST_REPEATED for number in _NUMBER.findall(said)):
        raise ValueError(f"invalid repeat count: {said}")
    if said == "[":
        raise ValueError("missing closing ]")
    return _class(said) if said[0] == "[" else said


def _character(code: str) -> str:
    return re.escape(chr(int(code, 16)))


def _escaped(letter: str) -> str:
    match letter:
        case "z":
            return r"\Z"
        case "C":
            return "."
        case "Z" | "N" | "U" | "u" | "p" | "P" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9":
            raise ValueError(f"\\{letter} isn't followed, or none of Go's")
        case _:
            return f"\\{letter}"


def _class(text: str) -> str:
    opening = text[: 2 if text[1] == "^" else 1]
    found = [opening]
    tokens = deque(_IN_CLASS.finditer(text[len(opening) : -1]))
    while tokens:
        token = tokens.popleft()
        found.append(_of_class(token))
        if _is_set(token) or len(tokens) < 2 or tokens[0][0] != "-":
            continue  # of what stands for many characters no range begins: `[\w-.]` has a - as it is
        tokens.popleft()
        last = tokens.popleft()
        if _is_set(last):
            raise ValueError(f"invalid character class range: {token[0]}-{last[0]}")
        found += ["-", _of_class(last)]
    return "".join((*found, "]"))


def _is_set(token: re.Match[str]) -> bool:
    """Whether it stands for many characters."""
    return bool(token["posix"]) or token["escaped"] in _SETS


def _of_class(token: re.Match[str]) -> str:
    if token["posix"]:
        if token["not"] or token["posix"] not in _POSIX:
            raise ValueError(f"{token[0]} isn't followed, or no character class")
        return _POSIX[token["posix"]]
    if token["code"]:
        return _character(token["code"])
    if token["escaped"]:
        if token["escaped"] in ("C", "b"):
            raise ValueError(f"invalid escape sequence in a class: {token[0]}")
        return _escaped(token["escaped"])
    return "\\" + token[0] if token[0] in _MEANT_IN_CLASS else token[0]

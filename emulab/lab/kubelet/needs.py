"""What a command needs beside its own program: an image may have a shell, as the host has, and what the shell is to
run be the image's alone.

Only what stands first is looked at, and only where it is a plain word: a shell that has begun may make the rest itself.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_SHELLS = frozenset(("ash", "bash", "dash", "ksh", "sh", "zsh"))
_INTERPRETERS = frozenset((*_SHELLS, "node", "perl", "php", "python", "python3", "ruby"))
"""Programs whose first word that is no option is the file that they run."""

_COMMAND_FOLLOWS = re.compile(r"-[a-z]*c")
_SETTLING = re.compile(r"\s*(?:#[^\n]*|(?:set|export|cd)\b[^\n;&|<>$`]*(?:;|&&|\n))")
"""What a script may begin with that asks for no program."""
_FIRST_WORD = re.compile(r"\s*(?:\w+=[\w./:-]*\s+)*(?:exec\s+)?([\w./+-]+)(?=$|[\s;&|<>)])")
_OF_SHELLS = frozenset(
    (
        *(
            "[",
            "alias",
            "bg",
            "break",
            "builtin",
            "case",
            "cd",
            "command",
            "continue",
            "coproc",
            "declare",
            "do",
        ),
        *(
            "done",
            "echo",
            "elif",
            "else",
            "esac",
            "eval",
            "exec",
            "exit",
            "export",
            "false",
            "fc",
            "fg",
            "fi",
            "for",
        ),
        *(
            "function",
            "getopts",
            "hash",
            "if",
            "in",
            "jobs",
            "kill",
            "let",
            "local",
            "mapfile",
            "printf",
            "pwd",
        ),
        *(
            "read",
            "readarray",
            "readonly",
            "return",
            "select",
            "set",
            "shift",
            "shopt",
            "source",
            "test",
            "then",
        ),
        *(
            "time",
            "times",
            "trap",
            "true",
            "type",
            "typeset",
            "ulimit",
            "umask",
            "unset",
            "until",
            "wait",
            "while",
        ),
        *(".", ":"),
    )
)
"""Words that shells know themselves: they are no programs."""


class Need(NamedTuple):
    word: str
    program: bool  # one that is looked for in PATH; otherwise a file


def needs(command: Sequence[str]) -> Iterator[Need]:
    """What a command that is there asks for at once."""
    name = command[0].rpartition("/")[2]
    if name in _SHELLS and len(command) > 2 and _COMMAND_FOLLOWS.fullmatch(command[1]):
        if word := _first_program(command[2]):
            yield Need(word, program=True)
    elif name in _INTERPRETERS and len(command) > 1 and _is_path(command[1]):
        yield Need(command[1], program=False)
    elif name == "cp":
        # What an init container copies out of its image to a volume.
        *sources, _ = [word for word in command[1:] if not word.startswith("-")] or [""]
        yield from (Need(word, program=False) for word in sources if word.startswith("/"))


def _is_path(word: str) -> bool:
    return not word.startswith("-") and "$" not in word and ("/" in word or "." in word)


def _first_program(script: str) -> str:
    """The program that a script begins with; "" where that can't be said, or is the shell's own matter."""
    at = 0
    while settling := _SETTLING.match(script, at):
        at = settling.end()
    first = _FIRST_WORD.match(script, at)
    return first[1] if first and first[1] not in _OF_SHELLS else ""

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
_PLAIN_WORDS = re.compile(r"(?:[ \t]+[\w./:=@,+-]+(?=$|[\s;&|<>)]))*")
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
    nowhere: bool = False  # no machine has it for a container


def needs(command: Sequence[str]) -> Iterator[Need]:
    """What a command that is there asks for at once."""
    name = command[0].rpartition("/")[2]
    if name in _SHELLS and len(command) > 2 and _COMMAND_FOLLOWS.fullmatch(command[1]):
        if first := _first_command(command[2]):
            yield Need(first[0], program=True)
            yield from _of_program(first)
    elif name in _INTERPRETERS and len(command) > 1 and _is_path(command[1]):
        yield Need(command[1], program=False)
    else:
        yield from _of_program(command)


def _of_program(command: Sequence[str]) -> Iterator[Need]:
    """What programs that init containers run ask for by their arguments."""
    name, arguments = command[0].rpartition("/")[2], command[1:]
    if name == "cp":
        # What an init container copies out of its image to a volume.
        *sources, _ = [word for word in arguments if not word.startswith("-")] or [""]
        yield from (Need(word, program=False) for word in sources if word.startswith("/"))
    elif name == "sysctl":
        # /proc/sys is the machine's, and no container writes there, be it as privileged as it may.
        keys = [word.partition("=")[0] for word in arguments if "=" in word and not word.startswith("-")]
        for key in keys[:1]:
            yield Need(f"a {key} that a container may set", program=False, nowhere=True)


def _is_path(word: str) -> bool:
    return not word.startswith("-") and "$" not in word and ("/" in word or "." in word)


def _first_command(script: str) -> list[str]:
    """The program that a script begins with, and its arguments as far as they are plain words; empty where that can't
    be said, or is the shell's own matter."""
    at = 0
    while settling := _SETTLING.match(script, at):
        at = settling.end()
    first = _FIRST_WORD.match(script, at)
    if not first or first[1] in _OF_SHELLS:
        return []
    return [first[1], *(_PLAIN_WORDS.match(script, first.end()) or [""])[0].split()]

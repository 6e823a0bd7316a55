"""A Markdown page as steps: files to write and commands to run, in the page's order.

    ```console                      a command begins with `$ `, and what is below is what it prints
    $ emulab up shop.yaml
    lab default is up …
    ```

    ```yaml                         a block whose first line is a comment with a file's name is that file
    # web.yaml
    kind: Pod
    ```

A command goes on over a line that ends with a backslash, and over a here-document. `<!-- not run: REASON -->` above a
block leaves it out. Blocks of other languages are for who reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

PROMPT = "$ "
_FENCE = re.compile(r"^```(\S*)\s*$")
_NOT_RUN = re.compile(r"^<!-- not run: (.+) -->$")
_FILE = re.compile(r"^# ([\w-]+\.(?:yaml|py|toml))$")
_HERE = re.compile(r"<<-?\s*'?(\w+)'?")


@dataclass(frozen=True)
class Block:
    """What stands between two fences; `line` is the page's of its first one."""

    language: str
    text: str
    line: int
    not_run: str = ""
    """Why nobody runs it, "" where it is run."""

    @property
    def file(self) -> str:
        """The name of the file that this is, "" where it is none."""
        first, _, _ = self.text.partition("\n")
        found = _FILE.match(first)
        return found[1] if found else ""


@dataclass(frozen=True)
class File:
    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command line, and what is shown of what comes of it."""

    text: str
    shown: str
    line: int


Step = File | Command


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    language, begun, inside, not_run = "", 0, [], ""
    for number, line in enumerate(page.splitlines(), 1):
        fence = _FENCE.match(line)
        if not begun and fence:
            language, begun, inside = fence[1], number, []
        elif begun and fence:
            yield Block(language, "".join(f"{text}\n" for text in inside), begun, not_run)
            begun, not_run = 0, ""
        elif begun:
            inside.append(line)
        elif line.strip():
            found = _NOT_RUN.match(line)
            not_run = found[1] if found else ""


def steps(page: str) -> Iterator[Step]:
    """What is done with a page, in its order."""
    for block in blocks(page):
        if block.not_run:
            continue
        if block.file:
            yield File(block.file, block.text)
        elif block.language == "console":
            yield from _commands(block)


def _commands(block: Block) -> Iterator[Command]:
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        number, command = block.line + 1 + at, lines[at]
        if not command.startswith(PROMPT):
            raise ValueError(f"line {number}: a block of commands begins with one")
        command = command.removeprefix(PROMPT)
        at += 1
        while command.endswith("\\"):
            command = f"{command[:-1].rstrip()} {lines[at].strip()}"
            at += 1
        if here := _HERE.search(command):
            end = lines.index(here[1], at)
            command = "\n".join([command, *lines[at : end + 1]])
            at = end + 1
        shown = at
        while at < len(lines) and not lines[at].startswith(PROMPT):
            at += 1
        yield Command(command, "".join(f"{line}\n" for line in lines[shown:at]).strip("\n"), number)

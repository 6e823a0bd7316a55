"""The command line: one module a verb, and the only place that prints and exits.

* A verb's module has `configure(parser)`, which names its arguments, and `run(options)`, which does it and
  returns the exit status. It is imported when the verb is used: `--help` must not pay for what it doesn't do.
* `usage`, `progress`, `manifests` and `ending` are what several verbs share; `kinds`, `columns`, `ages` and
  `table` are kubectl's names and tables as pure functions.
* Exit status: 0 on success, 1 on failure, 2 on wrong usage, 130 after Ctrl-C; `exec` and `run` return their
  command's. Errors go to stderr, the line that says what is wrong first.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from emulab.cli.usage import Parser, UsageError, VerbParser, VersionAction, add_lab
from emulab.errors import EmulabError

VERBS = {
    "up": "build a lab, or apply files to a running one",
    "down": "remove a lab and every trace of it",
    "run": "run one command in a lab of its own",
    "labs": "list the labs on this machine",
    "apply": "create or change objects in a running lab",
    "delete": "delete objects from a running lab",
    "get": "list objects with their status",
    "describe": "show one object in detail",
    "logs": "print what a container wrote",
    "scale": "change a workload's number of replicas",
    "exec": "run a command at a place of the lab",
    "trace": "send one request and show every hop it takes",
    "compare": "compare the proxy modes of one lab, side by side",
    "plan": "print what `up` would build, without building it",
    "doctor": "check what this kernel and machine allow",
}
"""Verb → what it does, in the order of --help. The module of the same name does it."""

WITH_COMMAND = frozenset({"exec", "run", "compare"})
"""Verbs with words of their own after `--`: a command, or requests."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit status. The console entry point."""
    _fill_descriptors()
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:  # it is None when it was closed before Python began
            sys.stdout.flush()
        return status
    except UsageError as error:
        print(f"emulab: {error}", file=sys.stderr)
        return 2
    except EmulabError as error:
        with suppress(BrokenPipeError):
            print(f"emulab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has left; flushing at exit must not complain about it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _fill_descriptors() -> None:
    """Opens what is closed of stdin, stdout and stderr: another file would get its number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this


def _run(argv: list[str]) -> int:
    verb = _verb(argv)
    command: list[str] = []
    if verb in WITH_COMMAND and "--" in argv:
        at = argv.index("--")
        argv, command = argv[:at], argv[at + 1 :]
    options = _parser(verb).parse_args(argv)
    options.command = command
    options.lab_given = options.lab
    options.lab = options.lab or os.environ.get("EMULAB_LAB") or "default"
    # Here, not above: `--help` has left by now.
    from emulab.errors import UserError
    from emulab.lab import rundir

    try:
        rundir.check_name(options.lab)
    except UserError as error:
        raise UsageError(str(error)) from None
    with suppress(OSError):  # what can't be swept isn't ours
        rundir.sweep_dead()
    status: int = import_module(f"emulab.cli.{verb}").run(options)
    return status


def _verb(argv: Sequence[str]) -> str:
    """The verb among the arguments, "" when there is none. Raises UsageError for one that doesn't exist."""
    words = iter(argv)
    for word in words:
        if word in ("-l", "--lab"):
            next(words, None)
        elif not word.startswith("-"):
            if word not in VERBS:
                raise UsageError(f"there is no command {word!r}; the commands are {', '.join(VERBS)}")
            return word
    return ""


def _parser(verb: str) -> argparse.ArgumentParser:
    """The parser of all verbs; only the one that is used knows its arguments."""
    parser = Parser(
        prog="emulab",
        description="Emulates the whole way of a request into a Kubernetes cluster, in real packets.",
        epilog="`emulab COMMAND --help` tells more about one command.",
    )
    parser.add_argument("--version", action=VersionAction)
    add_lab(parser, None)
    verbs = parser.add_subparsers(
        dest="verb", metavar="COMMAND", required=True, title="commands", parser_class=VerbParser
    )
    for name, summary in VERBS.items():
        if verb and name != verb:
            continue
        child = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_lab(child, argparse.SUPPRESS)
        if name == verb:
            import_module(f"emulab.cli.{name}").configure(child)
    return parser

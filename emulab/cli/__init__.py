"""The command line: one module a verb, and the only place that prints and exits.

* `verbs/` has a module for each. It is imported when the verb is used: `--help` must not pay for what it doesn't do.
* `output/` is what is printed. Its `outlet` is the way out, on which nothing is left that a terminal would obey.
* `usage`, `manifests`, `building`, `ending` and `waiting` are what several verbs share; `kinds`: kubectl's names.
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

from emulab.cli.output.outlet import Outlet, outlets
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
    "patch": "change an object's status",
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
    with outlets() as out:
        try:
            return _run_and_flush(list(sys.argv[1:] if argv is None else argv), out)
        except UsageError as error:
            print(f"emulab: {error}", file=sys.stderr)
            return 2
        except EmulabError as error:
            print(f"emulab: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            out.silence()  # whoever read our output has left
            return 1
        except Exception as error:
            print(f"emulab: {_fault(error)}", file=sys.stderr)
            return 1


def _run_and_flush(argv: list[str], out: Outlet) -> int:
    """Runs one command line; what it has printed is out when it ends, or it's an error that `main` tells."""
    try:
        status = _run(argv)
    except SystemExit:  # from --help, say, and from a command line that can't be read
        out.flush()
        raise
    out.flush()
    return status


def _fault(error: Exception) -> str:
    """One line about what nobody has foreseen: of a file it is the system's word, all else a fault of ours."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f" at {last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else ""
    return f"a fault of emulab: {' '.join(repr(error).split())}{where}"


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
    from emulab.lab.folders import rundir

    try:
        rundir.check_name(options.lab)
    except UserError as error:
        raise UsageError(str(error)) from None
    with suppress(OSError, EmulabError):  # what can't be swept isn't ours; a verb that needs it says so
        rundir.sweep_dead()
    status: int = import_module(f"emulab.cli.verbs.{verb}").run(options)
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
        dest="verb",
        metavar="COMMAND",
        required=True,
        title="commands",
        parser_class=VerbParser,
        prog=parser.prog,  # else argparse formats a usage to find it out
    )
    for name, summary in VERBS.items():
        if verb and name != verb:
            continue
        child = verbs.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_lab(child, argparse.SUPPRESS)
        if name == verb:
            import_module(f"emulab.cli.verbs.{name}").configure(child)
    return parser

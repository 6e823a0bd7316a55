"""The command line: one module a verb, and the only place that prints and exits.

* `verbs/` has a module for each. It is imported when the verb is used: `--help` must not pay for what it doesn't do.
* `output/` is what is printed. Its `outlet` is the way out, on which nothing is left that a terminal would obey.
* `usage`, `manifests`, `kustomizing`, `building`, `ending` and `waiting` are what several verbs share; `creating`,
  `made`, `following`, `rollouthistory`, `logends`, `portmapping`, `attachments` and `subresources` what one has beside
  its module; `kinds`, `infiles`, `selection` and `pods` are what a command line means.
* `completion` answers a shell, `elsewhere` who types kubectl's verbs; `document` makes the options of docs/cli.md.
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
from types import ModuleType

from emulab.cli.output.outlet import Outlet, outlets
from emulab.cli.usage import (
    Parser,
    ServerRefusal,
    UsageError,
    VerbParser,
    VersionAction,
    add_lab,
    looks_like_selector,
)
from emulab.errors import EmulabError

VERBS = {
    "up": "build a lab, or apply files to a running one",
    "down": "remove a lab and every trace of it",
    "run": "run one command in a lab of its own",
    "labs": "list the labs on this machine",
    "create": "make objects that aren't there",
    "apply": "create or change objects in a running lab",
    "diff": "say what `apply` would change",
    "expose": "make a Service of a workload",
    "delete": "delete objects from a running lab",
    "get": "list objects with their status",
    "describe": "show one object in detail",
    "events": "list what happened to objects",
    "top": "show what pods and nodes use of processors and memory",
    "wait": "wait until objects are as they shall be",
    "rollout": "follow, restart, pause or undo a workload's rollout",
    "logs": "print what a container wrote",
    "patch": "change an object's status",
    "scale": "change a workload's number of replicas",
    "port-forward": "let ports of this machine lead to a pod",
    "exec": "run a command at a place of the lab",
    "cp": "copy files to and from a pod",
    "trace": "send one request and show every hop it takes",
    "timing": "say how long each part of a request takes",
    "cert": "show a server's certificate, and which Secret it is of",
    "traceroute": "show the way to a target, with what each hop is",
    "connections": "count sockets and tracked connections, by place and by object",
    "lb": "list what nodes' BPF programs know of Services",
    "watch": "tell each change of endpoints or other objects, a line each",
    "monitor": "tell each packet of the lab, a line each",
    "capture": "write the packets of many places to a file, or into Wireshark",
    "graph": "draw how places are joined, with what passes there",
    "dns": "show, empty and spoil the caches of resolvers",
    "fault": "break something on purpose, and mend it",
    "policy": "say who may reach whom by NetworkPolicies",
    "lab": "begin an exercise: find out what is broken, and mend it",
    "compare": "compare the proxy modes of one lab, side by side",
    "bench": "measure what each hop costs, and what a path carries",
    "explain": "say what a kind or a field of it is",
    "plan": "print what `up` would build, without building it",
    "image": "load, list and remove images that containers run",
    "api-resources": "list the kinds of objects, with all their names",
    "completion": "print what a shell needs to complete command lines",
    "version": "print this program's version, and the Kubernetes that it follows",
    "cni": "attach containers that others run, as a CNI plug-in",
    "doctor": "check what this kernel and machine allow",
}
"""Verb → what it does, in the order of --help. The module of the same name does it."""

WITH_COMMAND = frozenset({"exec", "run", "compare", "create"})
"""Verbs with words of their own after `--`: a command, or requests."""

_NAMESPACE = ("-n", "--namespace")
_BEFORE = ("-l", "--lab", *_NAMESPACE)
"""Options with a value that may stand before the verb."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit status. The console entry point."""
    with outlets() as out:
        try:
            return _run_and_flush(_words(sys.argv[1:] if argv is None else argv), out)
        except UsageError as error:
            print(f"emulab: {error}", file=sys.stderr)
            return 2
        except ServerRefusal as error:
            print(error, file=sys.stderr)
            return 1
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


def _words(argv: Sequence[str]) -> list[str]:
    """The words of a command line. A container runtime calls a plug-in without any, and says in a variable what for."""
    return list(argv) or (["cni"] if "CNI_COMMAND" in os.environ else [])


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
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        from emulab.kernel.machine import no_more_processes

        return str(no_more_processes("start a thread"))
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    where = f" at {last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last is not None else ""
    return f"a fault of emulab: {' '.join(repr(error).split())}{where}"


def _run(argv: list[str]) -> int:
    if "_ARGCOMPLETE" in os.environ:
        from emulab.cli import completion

        completion.answer(_parser, VERBS)
    verb = _verb(argv)
    command: list[str] = []
    if verb in WITH_COMMAND and "--" in argv:
        at = argv.index("--")
        argv, command = argv[:at], argv[at + 1 :]
    options, unknown = _parser(verb).parse_known_args(_ordered(argv, verb))
    if unknown:
        raise UsageError(_unrecognized(verb, unknown))
    options.command = command
    options.lab_given = options.lab
    options.lab = options.lab or os.environ.get("EMULAB_LAB") or "default"
    # Here, not above: `--help` has left by now.
    from emulab.errors import NotUp, UserError
    from emulab.lab.folders import rundir

    try:
        rundir.check_name(options.lab)
    except UserError as error:
        selectors = (
            f"; -l is the lab, and {verb} takes no label selector" if looks_like_selector(options.lab) else ""
        )
        raise UsageError(f"{error}{selectors}") from None
    with suppress(OSError, EmulabError):  # what can't be swept isn't ours; a verb that needs it says so
        rundir.sweep_dead()
    try:
        status: int = _module(verb).run(options)
    except NotUp as error:
        where_labels_stand = "-l" in argv[argv.index(verb) :] and hasattr(options, "selector")
        if where_labels_stand and not error.ended:
            raise NotUp(f"{error}\n-l is the lab; if a label is meant: --selector {options.lab}") from None
        raise
    return status


def _module(verb: str) -> ModuleType:
    return import_module(f"emulab.cli.verbs.{verb.replace('-', '_')}")


def _verb(argv: Sequence[str]) -> str:
    """The verb among the arguments, "" when there is none. Raises UsageError for one that doesn't exist."""
    words = iter(argv)
    for word in words:
        if word in _BEFORE:
            next(words, None)
        elif not word.startswith("-"):
            if word not in VERBS:
                raise UsageError(f"there is no command {word!r}; {_meant(word)}")
            return word
    return ""


def _meant(word: str) -> str:
    from difflib import get_close_matches  # of those who mistype alone

    from emulab.cli.elsewhere import ELSEWHERE

    if word in ELSEWHERE:
        return f"it is kubectl's: {ELSEWHERE[word]}"
    found = get_close_matches(word, VERBS, 1)
    return f"{f'did you mean {found[0]}? ' if found else ''}the commands are {', '.join(VERBS)}"


def _unrecognized(verb: str, words: Sequence[str]) -> str:
    if verb == "exec" and not words[0].startswith("-"):  # kubectl's words
        return "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead"
    if verb == "run" and any(word.startswith("--image") for word in words):
        from emulab.cli.elsewhere import RUN

        return RUN
    return f"unrecognized arguments: {' '.join(words)}; `emulab {verb} --help` says what there is"


def _ordered(argv: list[str], verb: str) -> list[str]:
    """The words with `-n NAMESPACE` and label selectors behind the verb, where its parser looks for them; kubectl takes
    them before it as well."""
    if not verb:
        return argv
    at, moved = 0, []
    while argv[at] != verb:
        word = argv[at]
        selects = word == "-l" and looks_like_selector(argv[at + 1])
        if selects or word in _NAMESPACE or word.startswith("--namespace="):
            taken = 1 if "=" in word else 2
            moved += argv[at : at + taken]
            argv = argv[:at] + argv[at + taken :]
        else:
            at += 2 if word in _BEFORE else 1
    return argv[: at + 1] + moved + argv[at + 1 :]


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
            _module(name).configure(child)
    return parser

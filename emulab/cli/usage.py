"""Arguments that verbs share, and how a wrong command line is answered."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from emulab.errors import UserError

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any, NoReturn

_SELECTOR = r"[=!(),<>\s/]"  # what a label selector has, and a lab's name hasn't
_DURATION = r"(\d+(?:\.\d+)?)(ms|s|m|h)"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class UsageError(UserError):
    """A command line that can't be meant: exit status 2."""


class ServerRefusal(UserError):
    """What an API server would refuse, in its words."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Finds out how wide the terminal is only to format something: each argument makes one."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=80)

    def format_help(self) -> str:
        import shutil

        self._width = shutil.get_terminal_size().columns - 2
        return super().format_help()


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose first line of an error is the error."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", _Formatter)
        super().__init__(*args, **options)

    def error(self, message: str) -> NoReturn:
        flag, ignored, value = message.partition(": ignored explicit argument ")
        if ignored and (known := self._values(flag.removeprefix("argument ").partition("/")[0])):
            message = f"{flag.partition('/')[0]}: {value} is not one of {', '.join(known)}"
        print(f"{self.prog}: {message}", file=sys.stderr)
        self.print_usage(sys.stderr)
        sys.exit(2)

    def _values(self, flag: str) -> list[str]:
        """What a flag takes behind its `=`, where each value is an option of its own."""
        return [o.removeprefix(f"{flag}=") for o in self._option_string_actions if o.startswith(f"{flag}=")]


class VerbParser(Parser):
    """A verb's parser: options may stand between arguments, as in `get pods -n shop web-0`."""

    _intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # argparse fills an optional argument at the first chance, empty, and then refuses the word behind the
        # options; its intermixed mode doesn't, but it isn't what subparsers are called with.
        if self._intermixed:
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False


class VersionAction(argparse.Action):
    """--version, which looks the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, help="print the version and exit")

    def __call__(self, *_: Any) -> NoReturn:
        print(f"emulab {version()}")
        sys.exit(0)


def version() -> str:
    """The version of this package, installed or in a checkout."""
    from importlib import metadata
    from pathlib import Path

    checkout = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if checkout.is_file():
        found = re.search(r'^version = "(.*)"', checkout.read_text(), re.MULTILINE)
        if found:
            return found[1]
    try:
        return metadata.version("emulab")
    except metadata.PackageNotFoundError:
        return "unknown"


def duration(text: str) -> float:
    """Seconds from `60s`, `2m30s`, `500ms` or `60`."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not re.fullmatch(f"({_DURATION})+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 60s, 2m or 500ms")
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_DURATION, text))


def signed_duration(text: str) -> float:
    """A duration that may be negative: `-1s`."""
    return -duration(text[1:]) if text.startswith("-") else duration(text)


def natural(text: str) -> int:
    """A number from 0 on."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


class _LabAction(argparse.Action):
    """-l and --lab. With verbs that take a label selector, -l with something that is no name but a selector is one."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        is_selector = option == "-l" and "--selector" in parser._option_string_actions
        setattr(namespace, "selector" if is_selector and looks_like_selector(value) else self.dest, value)


def looks_like_selector(text: str) -> bool:
    """Whether a text is a label selector and can't be a name."""
    return bool(re.search(_SELECTOR, text))


def add_lab(parser: argparse.ArgumentParser, default: str | None) -> None:
    parser.add_argument(
        "-l",
        "--lab",
        action=_LabAction,
        metavar="NAME",
        default=default,
        help="the lab's name (default: $EMULAB_LAB, else `default`)",
    )


class _NamespaceAction(argparse.Action):
    """-n and --namespace. An empty one, as of an unset variable, is as if it were not given, for kubectl, too."""

    def __call__(self, parser: Any, namespace: Any, value: Any, option: str | None = None) -> None:
        namespace.namespace, namespace.enforced_namespace = value or "default", value


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """-n: `options.namespace`, and `options.enforced_namespace`, which is "" where none is given."""
    parser.set_defaults(enforced_namespace="")
    parser.add_argument(
        *("-n", "--namespace"),
        metavar="NS",
        action=_NamespaceAction,
        default="default",
        help="Kubernetes namespace (default: default)",
    )


def add_selector(parser: argparse.ArgumentParser) -> None:
    """--selector, for which -l may stand as well, and --field-selector."""
    parser.add_argument(
        *("--selector",),
        metavar="LABELS",
        default="",
        help="only objects with such labels: app=web,tier in (a,b),!canary; `-l app=web` is understood, too",
    )
    parser.add_argument(
        "--field-selector",
        *(),
        metavar="FIELDS",
        default="",
        help="only objects with such fields: status.phase!=Running,spec.nodeName=node1",
    )


def add_wait(parser: argparse.ArgumentParser, what: str) -> None:
    """--wait, which is the default, and --wait=false; a value stands behind `=` alone, as with kubectl's flags."""
    parser.add_argument(*("--wait", "--wait=true"), action="store_true", default=True, help=argparse.SUPPRESS)
    parser.add_argument("--wait=false", dest="wait", action="store_false", help=what)


def add_switch(
    parser: argparse.ArgumentParser, flag: str, default: bool, off: str = argparse.SUPPRESS
) -> None:
    """A flag that is true or false; a value stands behind `=` alone, as with kubectl's. `off`: what false does."""
    name = flag.removeprefix("--").replace("-", "_")
    on = {"dest": name, "action": "store_true", "default": default, "help": argparse.SUPPRESS}
    parser.add_argument(flag, f"{flag}=true", **on)  # type: ignore[arg-type]
    parser.add_argument(f"{flag}=false", dest=name, action="store_false", help=off)


def add_validate(parser: argparse.ArgumentParser) -> None:
    """kubectl's --validate: strict where it isn't given, and where it is given without a value. And --strict."""
    words = {
        "strict": ("--validate", "--validate=strict", "--validate=true"),
        "warn": ("--validate=warn",),
        "ignore": ("--validate=ignore", "--validate=false"),
    }
    what = {"warn": "leave unknown and repeated fields out, with a warning", "ignore": "leave them out"}
    for value, flags in words.items():
        parser.add_argument(
            *flags,
            dest="validate",
            action="store_const",
            const=value,
            default="strict",
            help=what.get(value, argparse.SUPPRESS),
        )
    parser.add_argument("--strict", action="store_true", help="what would be a warning or a note is an error")


def add_output(parser: argparse.ArgumentParser, *formats: str) -> None:
    parser.add_argument("-o", "--output", choices=formats, help=f"print {' or '.join(formats)}")


def add_dry_run(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(*("--dry-run",), choices=("none", "client", "server"), default="none", help=what)


_PRINTED = "name, json, yaml, jsonpath={…}, go-template={{…}}, …: print the objects"


def add_format(parser: argparse.ArgumentParser, what: str = _PRINTED) -> None:
    """-o with kubectl's formats for objects that a command has to do with, and --template."""
    parser.add_argument(
        *("-o", "--output"),
        metavar="FORMAT",
        default="",
        help=what,
    )
    parser.add_argument(
        *("--template",),
        metavar="TEMPLATE",
        default="",
        help="of -o go-template, jsonpath, …: what it prints",
    )


class Kustomized(str):
    """A folder among files: not its manifests are meant, but what kustomize makes of them."""

    __slots__ = ()


def add_files(parser: argparse.ArgumentParser) -> None:
    """-f and -k: `options.files`, of which those of -k are Kustomized."""
    parser.add_argument(
        *("-f", "--filename"),
        metavar="FILE",
        action="append",
        default=[],
        dest="files",
        help="a manifest, a folder of them, or - for stdin; may be repeated",
    )
    add_kustomize(parser)
    # kubectl's, which reads the folders in a folder with it alone; here they always are.
    parser.add_argument("-R", "--recursive", action="store_true", help=argparse.SUPPRESS)


def add_given(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Files as arguments, with kubectl's -f before them or not, and -k: what `given` returns."""
    parser.set_defaults(files_required=required)
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="a manifest, a folder of them, or - for stdin"
    )
    parser.add_argument(
        *("-f", "--filename"), action="append", default=[], dest="flagged", help=argparse.SUPPRESS
    )
    add_kustomize(parser, "flagged")


def given(options: argparse.Namespace) -> list[str]:
    """The files of a command line, of which those of -k are Kustomized. Raises UsageError where one is needed."""
    files = [*options.files, *options.flagged]
    if options.files_required and not files:
        raise UsageError(f"{options.verb} needs FILE or -k DIR: the manifests of its lab")
    return files


def add_kustomize(parser: argparse.ArgumentParser, dest: str = "files") -> None:
    parser.add_argument(
        *("-k", "--kustomize"),
        metavar="DIR",
        type=Kustomized,
        action="append",
        default=[],
        dest=dest,
        help="a folder with a kustomization, of which `kubectl kustomize` makes manifests",
    )


def require_files(files: Sequence[str]) -> None:
    """Raises UsageError where neither -f nor -k is given, in kubectl's words."""
    if not files:
        raise UsageError("must specify one of -f and -k")


def require_command(options: argparse.Namespace, verb: str) -> list[str]:
    """The command after `--`. Raises UsageError when there is none."""
    command: list[str] = options.command
    if not command:
        raise UsageError(f"{verb} needs a command: write it after --, as in: emulab {verb} … -- curl -s URL")
    return command

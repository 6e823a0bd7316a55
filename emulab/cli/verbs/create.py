"""`emulab create`: makes objects of files, or a few kinds of a few words, as kubectl does."""

from __future__ import annotations

import argparse
from importlib import import_module
from pkgutil import iter_modules

from emulab.cli import made
from emulab.cli.creating import add_dry_run, make, make_of_files
from emulab.cli.kinds import find
from emulab.cli.usage import UsageError, add_files, add_namespace, natural


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab create [-l LAB] [-n NS] [--dry-run=client] [-o FORMAT] -f FILE |"
        " deployment NAME --image=IMAGE [--replicas N] [--port N] [-- CMD…] |"
        " job NAME --image=IMAGE [-- CMD…] | job NAME --from=cronjob/NAME |"
        " configmap NAME [--from-literal=KEY=VALUE] [--from-file=[KEY=]FILE] |"
        " secret generic|tls NAME … | namespace NAME"
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="KIND NAME", help="deployment web, configmap settings, secret tls keys, …")
    add_files(parser)
    add("--image", action="append", default=[], help="of a deployment or job: a container's image")
    add("--from", dest="source", metavar="cronjob/NAME", help="of a job: the cronjob whose template it has")
    add("-r", "--replicas", type=natural, metavar="N", help="of a deployment: its Pods (default: 1)")
    add("--port", type=natural, metavar="N", help="of a deployment: its container's port")
    add(
        *("--from-literal",),
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of a configmap or secret: a value; may be repeated",
    )
    add(
        *("--from-file",),
        action="append",
        default=[],
        metavar="[KEY=]FILE",
        help="of a configmap or secret: a file, or all in a folder; may be repeated",
    )
    add("--cert", metavar="FILE", help="of a secret tls: the certificate")
    add("--key", metavar="FILE", help="of a secret tls: its key")
    add_namespace(parser)
    add_dry_run(parser)


def run(options: argparse.Namespace) -> int:
    if bool(options.what) == bool(options.files):
        raise UsageError("create needs either -f FILE or KIND NAME")
    if options.files:
        made.only(options, "-f FILE", ())
        return make_of_files(options)
    kind = find(options.what[0])
    known = sorted(module.name for module in iter_modules(made.__path__))
    if kind.singular not in known:
        words = ", ".join(known)
        raise UsageError(
            f"create makes of words: {words}; write a manifest of a {kind.kind}, and create -f it"
        )
    return make(options, import_module(f"{made.__name__}.{kind.singular}").manifest(options), "created")

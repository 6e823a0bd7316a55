"""The objects of a lab that files name, as `get -f FILE` asks for them."""

from __future__ import annotations

import argparse

from emulab.cli import manifests
from emulab.cli.kinds import Reference, references
from emulab.cli.usage import UsageError
from emulab.kinds.registry import KINDS


def named(options: argparse.Namespace) -> list[Reference]:
    """What KIND and NAME on the command line mean, or the objects of its files. Raises UsageError."""
    if not options.files:
        if not options.what:
            raise UsageError("required resource not specified; write KIND [NAME], KIND/NAME or -f FILE")
        return references(options.what, lab=options.lab)
    if options.what:
        raise UsageError(
            "when paths, URLs, or stdin is provided as input, you may not specify resource arguments as well"
        )
    return in_files(options)


def in_files(options: argparse.Namespace) -> list[Reference]:
    """The objects of files, which need to say no more than kind and name. Raises ManifestError."""
    from emulab.cluster.admission.loader import load  # of who has files alone
    from emulab.model.validation import IGNORE

    sources = manifests.read(options.files)
    objects = load(sources, validation=IGNORE, namespace=options.enforced_namespace).objects
    return [Reference(KINDS[o.type], o.name, o.namespace) for o in objects]

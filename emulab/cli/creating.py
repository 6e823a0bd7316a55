"""What `create` and `expose` share: new objects of a few words, made in a lab or printed as a manifest."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence

from emulab.cli import manifests
from emulab.cli.output.progress import progress
from emulab.cli.usage import ServerRefusal, add_output
from emulab.kinds.kind import Kind
from emulab.kinds.registry import KINDS
from emulab.lab.client.client import connect
from emulab.model.keys import group_kind
from emulab.model.sources import Source

TYPE_CHECKING = False  # not from typing, which takes long to load
if TYPE_CHECKING:
    from typing import Any

    Manifest = Mapping[str, Any]

_DRY = {"none": "", "client": " (dry run)", "server": " (server dry run)"}


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *("--dry-run",),
        choices=tuple(_DRY),
        default="none",
        help="make nothing; with client, no lab is needed to print what would be made",
    )
    add_output(parser, "yaml", "json", "name")


def placed(kind: Kind, name: str, namespace: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """How an object begins. The default Namespace isn't said, as kubectl doesn't say it."""
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = dict(labels)
    if kind.namespaced and namespace != "default":
        metadata["namespace"] = namespace
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def make(options: argparse.Namespace, made: Manifest, done: str) -> int:
    """Makes an object that isn't there yet, and says so with the word `done`. Raises ServerRefusal where it is."""
    if options.dry_run != "client":
        _apply(options, [Source("(command line)", json.dumps(made))])
    kind = KINDS[group_kind(made["apiVersion"], made["kind"])]
    _tell(options, f"{kind.resource}/{made['metadata']['name']}", done, made)
    return 0


def make_of_files(options: argparse.Namespace) -> int:
    """Makes all objects of files, none of which may be there."""
    for name in _apply(options, manifests.read(options.files)):
        singular, _, rest = name.partition("/")
        kind = KINDS.named(singular)
        _tell(options, f"{kind.resource if kind else singular}/{rest}", "created", {})
    return 0


def _apply(options: argparse.Namespace, sources: Sequence[Source]) -> list[str]:
    """The names of what was made. It is tried before, as what is there would be changed otherwise."""
    asked = {"sources": manifests.pairs(sources), "namespace": options.enforced_namespace}
    with connect(options.lab) as client, progress(f"lab {options.lab}") as tell:
        tried = client.request("apply", tell, **asked, dry_run=True)
        for name, verdict in tried["applied"]:
            if verdict != "created":
                raise ServerRefusal(_already_exists(name, options.files if "files" in options else ()))
        outcome = tried if options.dry_run == "server" else client.request("apply", tell, **asked)
    manifests.warn(outcome["warnings"], outcome["notes"])
    return [name for name, _ in outcome["applied"]]


def _already_exists(name: str, files: Sequence[str]) -> str:
    singular, _, rest = name.partition("/")
    kind = KINDS.named(singular)
    where = f'error when creating "{files[0]}": ' if len(files) == 1 else ""
    what = f'{kind.resources if kind else singular} "{rest}"'
    return f"Error from server (AlreadyExists): {where}{what} already exists"


def _tell(options: argparse.Namespace, name: str, done: str, made: Manifest) -> None:
    if options.output == "name" or (options.output and not made):
        print(name)
    elif options.output:
        from emulab.cli.output.formats import document

        print(document(made, options.output))
    else:
        print(f"{name} {done}{_DRY[options.dry_run]}")

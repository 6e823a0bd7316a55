"""`emulab diff`: what `apply` would change, as a unified diff; status 1 when that is anything, 2 when it failed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from difflib import unified_diff
from typing import Any

from emulab.cli import manifests
from emulab.cli.output.formats import document
from emulab.cli.usage import add_files, add_namespace, require_files
from emulab.errors import EmulabError
from emulab.kinds.cells import Raw
from emulab.lab.client.client import connect

_SERVERS = ("generation", "resourceVersion", "uid", "creationTimestamp")


def configure(parser: argparse.ArgumentParser) -> None:
    add_files(parser)
    add_namespace(parser)


def run(options: argparse.Namespace) -> int:
    require_files(options.files)
    try:
        sources = manifests.read(options.files)
        with connect(options.lab) as client:
            asked = {"sources": manifests.pairs(sources), "namespace": options.enforced_namespace}
            outcome = client.request("apply", **asked, dry_run=True)
    except EmulabError as error:
        print(f"emulab: {error}", file=sys.stderr)
        return 2
    manifests.warn(outcome["warnings"])
    lines = [line for before, after in outcome["objects"] for line in _lines(before, after)]
    print("".join(lines), end="")
    return 1 if lines else 0


def _lines(before: Raw | None, after: Raw) -> Iterator[str]:
    name = ".".join(
        str(part)
        for part in (
            str(after["apiVersion"]).replace("/", "."),
            after["kind"],
            after["metadata"].get("namespace") or "",
            after["metadata"]["name"],
        )
    )
    live, merged = (_text(o).splitlines(keepends=True) for o in (before, after))
    yield from unified_diff(live, merged, f"LIVE/{name}", f"MERGED/{name}")


def _text(o: Raw | None) -> str:
    """An object without what only the lab writes of it."""
    if o is None:
        return ""
    metadata: dict[str, Any] = {k: v for k, v in o["metadata"].items() if k not in _SERVERS}
    shown = {**{k: v for k, v in o.items() if k != "status"}, "metadata": metadata}
    return document(shown, "yaml") + "\n"

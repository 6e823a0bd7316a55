"""`emulab get`: objects with their status, in kubectl's tables, as JSON or YAML or by a template, once or for ever."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from emulab.cli import infiles
from emulab.cli.following import follow
from emulab.cli.kinds import Reference, not_found
from emulab.cli.output.formats import Format, as_list, parse_format
from emulab.cli.output.objecttables import Layout, ObjectTables, named
from emulab.cli.output.sorting import sort_by
from emulab.cli.selection import Selection, fetch, namespace_of, nothing_found
from emulab.cli.subresources import SUBRESOURCES, part_of
from emulab.cli.usage import UsageError, add_files, add_namespace, add_selector, add_switch, natural
from emulab.kinds.cells import Raw
from emulab.kinds.kind import Kind
from emulab.lab.client.client import LabClient, connect

_Found = list[tuple[Kind, Raw]]
_NO_API = (
    "--raw asks an API server for a path, and a lab has none; `emulab get KIND [NAME] -o json` prints objects,"
    " `emulab api-resources` says which kinds there are"
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab get [-l LAB] [-n NS | -A] [-o FORMAT] [-w] [--selector LABELS]"
        " KIND[,KIND…] [NAME…] | KIND/NAME… | -f FILE"
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="KIND [NAME]", help="pods, svc, deploy/web, all, …")
    add_files(parser)
    add("--raw", metavar="PATH", help=argparse.SUPPRESS)
    add(
        *("--subresource",),
        choices=SUBRESOURCES,
        help="of an object that is named: its scale; status, resize and ephemeralcontainers show it whole",
    )
    add_namespace(parser)
    add("-A", "--all-namespaces", action="store_true", help="objects of all namespaces")
    add_selector(parser)
    add("-w", "--watch", action="store_true", help="print them again whenever they change, until Ctrl-C")
    add("--watch-only", action="store_true", help="print only what changes from now on")
    add("--output-watch-events", action="store_true", help="say what happened: ADDED, MODIFIED, DELETED")
    add("--sort-by", metavar="PATH", default="", help="in the order of a field: .metadata.creationTimestamp")
    add("-L", "--label-columns", metavar="LABEL", action="append", default=[], help="a column for a label")
    add("--show-labels", action="store_true", help="a column with all labels")
    add("--show-kind", action="store_true", help="names say the kind")
    add("--no-headers", action="store_true", help="print rows only")
    add("--ignore-not-found", action="store_true", help="what isn't there is no failure")
    add(
        *("-o", "--output"),
        metavar="FORMAT",
        default="",
        help="wide, json, yaml, name, jsonpath={…}, jsonpath-as-json={…}, go-template={{…}},"
        " custom-columns=NAME:.metadata.name,…; jsonpath-file=FILE, go-template-file=FILE, custom-columns-file=FILE",
    )
    add("--template", metavar="TEMPLATE", default="", help="of -o go-template, jsonpath, …: what it prints")
    add_switch(
        parser, "--allow-missing-template-keys", True, "a field that isn't there is an error in templates"
    )
    add_switch(
        parser, "--show-managed-fields", False
    )  # a lab has none, as nobody applies from the server's side
    add_switch(parser, "--server-print", True)  # tables come from the kinds, whoever prints them
    add("--chunk-size", type=natural, default=500, help=argparse.SUPPRESS)  # a lab answers in one


def run(options: argparse.Namespace) -> int:
    if options.raw is not None:
        raise UsageError(_NO_API)
    wanted = infiles.named(options)
    output = parse_format(options.output, options.template, options.allow_missing_template_keys)
    _check(options)
    if options.all_namespaces and any(r.name for r in wanted):
        raise UsageError("an object is in one namespace: a name can't go with --all-namespaces")
    if options.subresource and not all(r.name for r in wanted):
        raise UsageError("subresource cannot be used when bulk resources are specified")
    selection = Selection.of(options, wanted)
    with connect(options.lab) as client:
        if options.watch or options.watch_only:
            return follow(client, wanted, selection, output, layout(wanted, output, options), options)
        return _get(client, wanted, selection, output, options)


def _check(options: argparse.Namespace) -> None:
    """Raises UsageError for options that don't go with each other, as kubectl does."""
    if options.show_labels and options.output not in ("", "wide"):
        raise UsageError(f"--show-labels option cannot be used with {options.output} printer")
    if options.label_columns and options.output.startswith("custom-columns"):
        raise UsageError(f"--label-columns option cannot be used with {options.output} printer")
    if options.output_watch_events and not (options.watch or options.watch_only):
        raise UsageError("--output-watch-events option can only be used with --watch or --watch-only")
    if options.subresource and (options.watch or options.watch_only):
        raise UsageError("--subresource is shown once: it can't go with --watch")


def _get(
    client: LabClient,
    wanted: Sequence[Reference],
    selection: Selection,
    output: Format,
    options: argparse.Namespace,
) -> int:
    found: _Found = []
    missing: list[Reference] = []
    for reference in wanted:
        admits = selection.filter(reference.kind).admits
        objects = fetch(client, reference, reference.namespace or namespace_of(reference.kind, options))
        shown = part_of(reference.kind, options.subresource)
        found += [(shown.kind, shown.of(o)) for o in objects if admits(o)]
        if reference.name and not objects:
            missing.append(reference)
    if options.sort_by:
        kinds = {id(o): kind for kind, o in found}
        found = [(kinds[id(o)], o) for o in sort_by([o for _, o in found], options.sort_by)]
    named_one = len(wanted) == 1 and bool(wanted[0].name)
    if not (named_one and missing):
        sys.stdout.write(_text(found, wanted, output, options))
    if not found and not missing and output.is_table and not options.ignore_not_found:
        print(nothing_found(wanted, options), file=sys.stderr)
    if options.ignore_not_found:
        return 0
    for reference in missing:
        print(not_found(reference), file=sys.stderr)
    return 1 if missing else 0


def _text(found: _Found, wanted: Sequence[Reference], output: Format, options: argparse.Namespace) -> str:
    if output.write is not None:
        named_one = len(wanted) == 1 and bool(wanted[0].name)
        objects = [o for _, o in found]
        return output.write(objects[0] if named_one else as_list(objects))
    if output.names:
        return "".join(f"{named(kind, o)}\n" for kind, o in found)
    if not found and output.columns is None:
        return ""
    return ObjectTables(layout(wanted, output, options)).text(found, time.time())


def layout(wanted: Sequence[Reference], output: Format, options: argparse.Namespace) -> Layout:
    """The tables that the options ask for."""
    several = len({reference.kind for reference in wanted}) > 1
    return Layout(
        *(output.wide, not options.no_headers, options.all_namespaces),
        kinds=several or options.show_kind,
        labels=[label for labels in options.label_columns for label in labels.split(",")],
        all_labels=options.show_labels,
        custom=output.columns,
    )

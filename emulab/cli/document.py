"""The tables of docs/: of options, from the verbs' parsers, of what the ingress follows, and of faults."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from importlib import import_module

from emulab.cli.usage import VerbParser

_TABLE = re.compile(r"(?ms)^<!-- options of ([\w-]+) -->\n.*?^<!-- end -->$")


def with_options(page: str) -> str:
    """A page with each of its tables made anew: what stands between `<!-- options of VERB -->` and `<!-- end -->`."""
    return _TABLE.sub(lambda table: _filled(table[1]), page)


def with_tables(page: str) -> str:
    """The page of the ingress with its tables made anew: what stands between `<!-- NAME -->` and `<!-- end -->`."""
    from emulab.plan.l7.annotations.document import annotations_table, keys_table

    made = {"annotations": annotations_table, "keys": keys_table}
    for name, table in made.items():
        page = _with_table(page, name, table())
    return page


def with_faults(page: str) -> str:
    """The page of faults with the table of the library made anew."""
    from emulab.kinds.faults.table import FAULTS

    rows = [
        f"| `{f.name}` | {f.target} | {', '.join(f'`{n}={o.default}`' for n, o in f.options.items())} | {f.text} |"
        for f in FAULTS.values()
    ]
    return _with_table(
        page,
        "faults",
        "\n".join(["| fault | at a | options | what it is |", "| --- | --- | --- | --- |", *rows]),
    )


def _with_table(page: str, name: str, table: str) -> str:
    begin, _, rest = page.partition(f"<!-- {name} -->\n")
    return f"{begin}<!-- {name} -->\n{table}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"


def documented(page: str) -> list[str]:
    """The verbs whose options a page has."""
    return [table[1] for table in _TABLE.finditer(page)]


def _filled(verb: str) -> str:
    rows = [f"| {words} | {text} |" for words, text in _rows(verb)]
    table = ["| option | does |", "| --- | --- |", *rows] if rows else []
    return "\n".join([f"<!-- options of {verb} -->", *table, "<!-- end -->"])


def _rows(verb: str) -> Iterator[tuple[str, str]]:
    """What a verb takes beside what all of them do: --help and --lab."""
    parser = VerbParser(add_help=False)
    import_module(f"emulab.cli.verbs.{verb.replace('-', '_')}").configure(parser)
    for action in parser._actions:
        if action.help != argparse.SUPPRESS:
            yield _words(action), (action.help or "").replace("|", r"\|")


def _words(action: argparse.Action) -> str:
    """`-o FORMAT`, `--output FORMAT`; what stands without an option by its own name."""
    value = ""
    if action.nargs != 0:
        choices = "|".join(map(str, action.choices)) if action.choices else ""
        value = str(action.metavar or choices or action.dest.upper())
    words = [f"{option} {value}".strip() for option in action.option_strings] or [value]
    return ", ".join(f"`{word}`".replace("|", r"\|") for word in words)

"""`emulab trace`: one request, and every hop it took."""

from __future__ import annotations

import argparse
import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emulab.cli.output.outlet import styled
from emulab.cli.usage import UsageError, add_namespace, add_output, duration
from emulab.errors import UserError
from emulab.observe.path import Path as Trace
from emulab.observe.target import RequestTarget, parse
from emulab.observe.telling.escapes import as_json
from emulab.observe.telling.texts import columns

PLAIN = str.maketrans("→←µ·…⋮", "><u-~:")
"""For terminals that can't show them: one column each, so that the columns stay."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What goes wrong with a file that could be opened."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab trace [-l LAB] [--from TARGET] [-n NS] [-X METHOD] [-H HEADER]… [--http2] [--all] [-k] "
        "[--timeout TIME] [-o FORMAT] [--pcap FILE] URL | HOST:PORT[/udp]"
    )
    parser.add_argument(
        "target",
        metavar="URL | HOST:PORT[/udp]",
        help="what to ask: an HTTP request, or TCP or UDP to a port",
    )
    parser.add_argument(
        *("--from",),
        dest="source",
        metavar="TARGET",
        default="client",
        help="where the request comes from: a place, pod/NAME, deploy/NAME or svc/NAME (default: client)",
    )
    add_namespace(parser)
    parser.add_argument("-X", "--request", metavar="METHOD", dest="method", help="HTTP method (default: GET)")
    parser.add_argument(
        *("-H", "--header"),
        metavar="HEADER",
        action="append",
        default=[],
        dest="headers",
        help="an HTTP header as `Name: value`; may be repeated",
    )
    parser.add_argument(
        "--http2", action="store_true", help="ask over HTTP/2; without TLS as one that knows it"
    )
    parser.add_argument("--all", action="store_true", help="show each packet, and fold nothing")
    parser.add_argument("-k", "--insecure", action="store_true", help="accept any certificate")
    parser.add_argument(
        *("--timeout",),
        type=duration,
        default=5.0,
        metavar="TIME",
        help="how long to wait for the answer (default: 5s)",
    )
    add_output(parser, "json", "mermaid")
    parser.add_argument("--pcap", metavar="FILE", help="write the packets to FILE (pcapng, for Wireshark)")


def run(options: argparse.Namespace) -> int:
    target = _target(options)
    method = options.method or "GET"
    if not _TOKEN.fullmatch(method):
        raise UsageError(f"{method!r} is no HTTP method")
    if options.timeout <= 0:
        raise UsageError("--timeout must be longer than 0")
    headers = _headers(options.headers)

    import asyncio  # here, not above: --help needs neither

    from emulab.trace.tracing import trace

    with _writable(options.pcap) as pcap:
        found = asyncio.run(
            trace(
                options.lab,
                options.target,
                source=options.source,
                namespace=options.namespace,
                method=method,
                headers=headers,
                every_packet=options.all,
                timeout=options.timeout,
                verify=not options.insecure,
                http2=options.http2,
                pcap=pcap,
            )
        )
    _print(found, options, method if target.path else "")
    if found.failure is None:
        return 0
    sys.stdout.flush()
    parts = [found.failure.text, found.failure.remedy]
    line = "; ".join(" ".join(part.split()) for part in parts if part)
    print(f"emulab: trace: {line}", file=sys.stderr)
    return 1


# --- the command line ---------------------------------------------------------------------------------------


def _target(options: argparse.Namespace) -> RequestTarget:
    """What to ask, checked. Raises UsageError."""
    try:
        target = parse(options.target)
    except UserError as error:
        raise UsageError(str(error)) from None
    if not target.path and (options.method or options.headers or options.http2):
        raise UsageError(
            f"-X, -H and --http2 are about HTTP; for an HTTP request write http://{options.target}"
        )
    return target


def _headers(texts: Sequence[str]) -> dict[str, str]:
    """Headers by name; what is given twice is one list (RFC 9110, 5.3). Raises UsageError."""
    headers: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        value = value.strip(" \t")
        if not colon or not _TOKEN.fullmatch(name) or re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
            raise UsageError(f"{text!r} is no header; write -H 'Name: value'")
        known = next((n for n in headers if n.lower() == name.lower()), None)
        if known is None:
            headers[name] = value
        else:
            headers[known] += f", {value}"
    return headers


@contextmanager
def _writable(name: str | None) -> Iterator[Path | None]:
    """The capture file, known to be writable before anything is sent; not left behind empty when that fails."""
    if name is None:
        yield None
        return
    if name in ("", "-"):
        raise UsageError("--pcap needs a file: a capture can't go where the ladder does")
    path = Path(name)
    fresh = not path.exists()
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise UserError(f"--pcap {name}: can't be written: {error.strerror}") from None
    try:
        yield path
    except BaseException as error:
        if fresh:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.errno in FULL or error.filename == str(path)):
            raise UserError(f"--pcap {name}: can't be written: {error.strerror}") from None
        raise


# --- what is printed ----------------------------------------------------------------------------------------


def _print(found: Trace, options: argparse.Namespace, method: str) -> None:
    if options.output == "json":
        print(as_json(found.to_json(), indent=2, ascii_only=not _shows("→é")))
        return
    if options.output == "mermaid":
        from emulab.cli.output import mermaid

        text = mermaid.render(found, method)
    else:
        from emulab.observe.telling import ladder

        at_terminal = sys.stdout.isatty()
        text = ladder.render(
            found,
            width=columns(),
            colour=at_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
            every_packet=options.all,
            method=method,
        )
    if not _shows(text):
        encoding = sys.stdout.encoding or "ascii"
        text = text.translate(PLAIN).encode(encoding, "replace").decode(encoding)
    styled(f"{text}\n")


def _shows(text: str) -> bool:
    """Whether stdout's encoding has these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True

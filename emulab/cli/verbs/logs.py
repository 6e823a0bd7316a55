"""`emulab logs`: what containers wrote, as far as their logs still have it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from emulab.cli.kinds import Reference
from emulab.cli.logends import ContainerOf, LogEnds
from emulab.cli.pods import choose
from emulab.cli.selection import Selection, fetch
from emulab.cli.usage import (
    ServerRefusal,
    UsageError,
    add_namespace,
    add_selector,
    add_switch,
    duration,
    natural,
)
from emulab.kinds.cells import Raw
from emulab.kinds.registry import POD
from emulab.lab.client.client import LabClient, connect
from emulab.lab.client.logfiles import PAUSE, FollowedLog, Wanted, has_previous, instant, limited

_LINES = 10  # of each log, where labels choose the pods
_ALL = -1  # lines
_STREAMS = 5  # logs that are followed at once, unless more are asked for


class _Source(NamedTuple):
    """A log that is to be read: of a container, or of a place without one."""

    target: str
    container: str = ""
    of: ContainerOf | None = None

    @property
    def prefix(self) -> str:
        name = self.target.rpartition("/")[2]
        return f"[pod/{name}/{self.container}] " if self.container else f"[{name}] "


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = (
        "emulab logs [-l LAB] [-n NS] [-c CONTAINER | --all-containers] [-f | -p] [--tail N] [--since TIME]"
        " [--timestamps] [--prefix] POD [CONTAINER]|KIND/NAME|PLACE | --selector LABELS"
    )
    add = parser.add_argument
    add("target", nargs="*", metavar="POD", help="a pod's name, pod/NAME, deploy/NAME, svc/NAME or a place")
    add_namespace(parser)
    add_selector(parser)
    add("-c", "--container", metavar="NAME", default="", help="container (default: the first)")
    add("--all-containers", action="store_true", help="all containers of the pod")
    add("--all-pods", action="store_true", help="all pods of deploy/NAME, each line with its prefix")
    add("--prefix", action="store_true", help="say before each line whose it is")
    add("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    add("-p", "--previous", action="store_true", help="of the container's life before the last one")
    add("--since", type=_nanoseconds, metavar="TIME", help="only lines that are no older: 5s, 2m, 3h")
    add("--since-time", type=_instant, metavar="TIME", help="only lines from then on: 2026-11-28T23:35:37Z")
    add("--timestamps", action="store_true", help="say before each line when it came")
    add("--tail", type=_tail, metavar="N", help=f"only the last N lines (with a selector: {_LINES}; -1: all)")
    add("--limit-bytes", type=natural, default=0, metavar="N", help="no more than N octets of each log")
    add(
        *("--max-log-requests",),
        type=natural,
        default=_STREAMS,
        metavar="N",
        help=f"follow no more than N logs at once (default: {_STREAMS})",
    )
    add_switch(parser, "--ignore-errors", False)  # a lab's logs are files, of which nothing fails half way


def run(options: argparse.Namespace) -> int:
    selected = bool(options.selector or options.field_selector)
    _name_one(options, selected)
    if options.all_containers and options.container:
        raise UsageError(
            f"--all-containers=true should not be specified with container name {options.container}"
        )
    if options.since is not None and options.since_time is not None:
        raise UsageError("at most one of `sinceTime` or `sinceSeconds` may be specified")
    if options.follow and options.previous:
        raise UsageError("only one of follow (-f) or previous (-p) is allowed")
    tail = _LINES if selected and options.tail is None else options.tail
    since = options.since_time if options.since is None else time.time_ns() - options.since
    wanted = Wanted(None if tail == _ALL else tail, since, options.previous, stamps=options.timestamps)
    with connect(options.lab) as client:
        sources = list(_selected(client, options) if selected else _named(client, options))
        _bound(options, len(sources))
        logs = [(source, _log(client, source, options, wanted)) for source in sources]
        _copy(logs, LogEnds(client, options.namespace) if options.follow else None)
    return 0


def _name_one(options: argparse.Namespace, selected: bool) -> None:
    """Takes the words for a Pod and, behind it, a container. Raises UsageError."""
    words = options.target
    if len(words) > 2 or (not words and not selected):
        raise UsageError("expected 'logs POD', 'logs KIND/NAME' or 'logs --selector LABELS'")
    if words and selected:
        raise UsageError("only a selector (-l) or a POD name is allowed")
    if len(words) == 2:
        if options.container:
            raise UsageError("only one of -c or an inline [CONTAINER] arg is allowed")
        options.container = words[1]
    options.target = words[0] if words else ""


def _bound(options: argparse.Namespace, streams: int) -> None:
    """Raises UsageError where more logs would be followed than are asked for."""
    most = options.max_log_requests
    if options.follow and streams > max(1, most):
        raise UsageError(
            f"you are attempting to follow {streams} log streams, but maximum allowed concurrency is {most}, use "
            "--max-log-requests to increase the limit"
        )


def _log(client: LabClient, source: _Source, options: argparse.Namespace, wanted: Wanted) -> FollowedLog:
    """The log of a source. Raises ServerRefusal where there is no such life of a container."""
    path, name = _path(client, source, options.namespace), source.target.rpartition("/")[2]
    gone = f'previous terminated container "{source.container}" in pod "{name}" not found'
    if wanted.previous and not has_previous(path):
        raise ServerRefusal(f"Error from server (BadRequest): {gone}")
    sink = limited(options.limit_bytes, _write) if options.limit_bytes else _write
    prefix = source.prefix if options.prefix or options.all_pods else ""
    return FollowedLog(path, wanted._replace(lives=bool(source.container)), sink, prefix)


def _tail(text: str) -> int:
    return _ALL if text == str(_ALL) else natural(text)


def _nanoseconds(text: str) -> int:
    return int(duration(text) * 1e9)


def _instant(text: str) -> int:
    """Nanoseconds of Unix time at an RFC 3339 time."""
    try:
        return instant(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-11-28T23:35:37Z") from None


def _copy(logs: Sequence[tuple[_Source, FollowedLog]], ends: LogEnds | None) -> None:
    """`ends`: where logs are followed, until each of them has ended."""
    opened = [log for _, log in logs]
    try:
        for log in opened:
            log.copy()
        sys.stdout.buffer.flush()
        while ends is not None and logs:
            over = ends.among([source.of for source, _ in logs if source.of is not None])
            logs = [(source, log) for source, log in logs if log.follow() and source.of not in over]
            sys.stdout.buffer.flush()
            if logs:
                time.sleep(PAUSE)
    finally:
        for log in opened:
            log.close()
        sys.stdout.buffer.flush()


def _write(chunk: bytes) -> None:
    sys.stdout.buffer.write(chunk)


def _path(client: LabClient, source: _Source, namespace: str) -> Path:
    found = client.request("logs", target=source.target, namespace=namespace, container=source.container)
    return Path(found)


def _selected(client: LabClient, options: argparse.Namespace) -> Iterator[_Source]:
    admits = Selection.of(options).filter(POD).admits
    pods = [pod for pod in fetch(client, Reference(POD, ""), options.namespace) if admits(pod)]
    if not pods:
        print(f"No resources found in {options.namespace} namespace.", file=sys.stderr)
    for pod in pods:
        yield from _containers(pod, options)


def _named(client: LabClient, options: argparse.Namespace) -> Iterator[_Source]:
    """What a target means: of many Pods one is taken, and it is said which."""
    target: str = options.target
    if "/" not in target:
        pods = fetch(client, Reference(POD, target), options.namespace)
        found = [source for pod in pods for source in _containers(pod, options)]
        # Without a Pod it is a place, or the lab says that there is none; of one name, the place is meant.
        yield from [source._replace(target=target) for source in found] or [
            _Source(target, options.container)
        ]
        return
    chosen = choose(client, target, options.namespace)
    if options.all_pods:
        for pod in chosen.pods:
            yield from _containers(pod, options)
        return
    if len(chosen.pods) > 1:
        print(f"Found {len(chosen.pods)} pods, using pod/{chosen.pod['metadata']['name']}", file=sys.stderr)
    yield from _containers(chosen.pod, options)


def _containers(pod: Raw, options: argparse.Namespace) -> Iterator[_Source]:
    """The containers of a Pod that are meant, by default its first; where it has more, kubectl says so, too."""
    spec = pod["spec"]
    names = [c["name"] for field in ("containers", "initContainers") for c in spec.get(field) or ()]
    if options.all_containers:
        inits = len(spec.get("initContainers") or ())
        chosen = (*names[len(names) - inits :], *names[: len(names) - inits])
        yield from (_source(pod, name) for name in chosen)
        return
    if not options.container and len(names) > 1:
        print(f'Defaulted container "{names[0]}" out of: {_told(pod)}', file=sys.stderr)
    yield _source(pod, options.container or names[0])


def _source(pod: Raw, container: str) -> _Source:
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    return _Source(f"pod/{name}", container, ContainerOf(name, uid, container))


def _told(pod: Raw) -> str:
    plain = [c["name"] for c in pod["spec"].get("containers") or ()]
    return ", ".join([*plain, *(f"{c['name']} (init)" for c in pod["spec"].get("initContainers") or ())])

"""The logs of containers as one text, for who asks from Python."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from emulab.errors import UserError
from emulab.lab.client.logfiles import FollowedLog, Wanted, has_previous, instant, nanoseconds_at


class LogOptions(NamedTuple):
    """What of logs is wanted, in the words of `kubectl logs`."""

    tail: int = 0  # so many last lines of each, 0 for all
    previous: bool = False
    since: float | None = None  # seconds
    since_time: datetime | str | None = None
    timestamps: bool = False
    prefix: bool = False


def read_logs(files: Sequence[tuple[str, str, str]], options: LogOptions) -> str:
    """The text of logs, each the Pod, the container and the path. Raises UserError for what can't be meant, and where
    there is no previous life."""
    since = _since(options)
    said: list[bytes] = []
    for pod, container, path in files:
        if options.previous and not has_previous(Path(path)):
            raise UserError(f'previous terminated container "{container}" in pod "{pod}" not found')
        wanted = Wanted(
            options.tail or None, since, options.previous, lives=bool(container), stamps=options.timestamps
        )
        prefix = f"[pod/{pod}/{container}] " if container else f"[{pod}] "
        log = FollowedLog(Path(path), wanted, said.append, prefix if options.prefix else "")
        log.copy()
        log.close()
    return b"".join(said).decode(errors="replace")


def _since(options: LogOptions) -> int | None:
    """Nanoseconds of Unix time."""
    if options.since is not None and options.since_time is not None:
        raise UserError("logs take since or since_time, not both")
    if options.since is not None:
        return time.time_ns() - int(options.since * 1e9)
    at = options.since_time
    if at is None:
        return None
    if isinstance(at, str):
        try:
            return instant(at)
        except ValueError:
            raise UserError(f"{at!r} is no time such as 2026-11-28T23:35:37Z") from None
    return nanoseconds_at(at)

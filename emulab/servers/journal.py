"""What servers write of requests: a line each, as nginx does.

Stand-ins write into the logs of the containers that they stand in for: one pipe leads to the process of the logs
(`servers.logs`), where lines part. A server that is a container has the pipe of its own log. Rules:

* A request never waits for its line: lines go out together, and what the pipe has no room for is dropped. A line that
  takes time to put together (`LaterLine`) is put together then, with the others.
* A line that comes alone goes out at once, so that who asks and then reads the log finds it there.
* Of so many requests in a turn that nobody could read them all, the others are counted, in a line as well.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable

from emulab.servers.accesslog import escaped, when

TURN = 0.05  # seconds for which lines are gathered
MOST = 20  # lines of a turn
_PENDING = 1 << 18  # octets that wait for the pipe
LaterLine = Callable[[], str]
"""Gives the text of a line."""
BEGIN, PART = "\x1e", "\x1f"
"""What stands before a line, and between a log's name and the text: the record and unit separators of ASCII."""


_WHOLE = 4096
"""What a pipe takes as a whole, whoever else writes into it (PIPE_BUF)."""


def _piece(data: bytes) -> int:
    """How many octets go out at once: whole lines, where they fit, as several processes may have one log."""
    return len(data) if len(data) <= _WHOLE else data.rfind(b"\n", 0, _WHOLE) + 1 or len(data)


class Journal:
    """The lines of all logs of a process; those of `OWN` alone, where it is `single`."""

    def __init__(self, single: bool = False) -> None:
        self._single = single
        self._pipe = -1
        self._lines: list[tuple[str, str | LaterLine]] = []  # log and text
        self.missed: Counter[str] = Counter()
        self._pending = b""
        self._when = ""  # the time of this turn's lines
        self.room = 0  # lines that this turn still takes; none before there is a pipe
        self._timer: asyncio.TimerHandle | None = None
        self._first = True  # the next line is the first of its turn

    def open(self, pipe: int) -> None:
        """Takes the pipe that all lines go to from now on."""
        if self._pipe >= 0:
            os.close(self._pipe)
        os.set_blocking(pipe, False)
        self._pipe, self.room = pipe, MOST

    def takes(self, log: str) -> bool:
        """Whether there is room for a request's line; where there is none, the request is counted."""
        if self._pipe < 0 or not log:
            return False
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TURN, self._turn)
        if not self.room:
            self.missed[log] += 1
            return False
        self.room -= 1
        return True

    def request(self, log: str, client: str, line: str, status: int, size: int, agent: str = "") -> None:
        """One request, in the format that is called combined."""
        self._when = self._when or when()
        host, line, agent = client.rpartition(":")[0], escaped(line), escaped(agent)
        self.write(log, f'{host} - - [{self._when}] "{line}" {status} {size or "-"} "-" "{agent or "-"}"')

    def write(self, log: str, text: str | LaterLine) -> None:
        """A line for which there is room."""
        self._lines.append((log, text))
        if self._first and self._timer is not None:
            self._first = False
            asyncio.get_running_loop().call_soon(self._write)

    def _marked(self, log: str, said: str | LaterLine) -> str:
        try:
            text = said if isinstance(said, str) else said()
        except Exception as error:  # of that one line, and of no other
            told = {"message": "a line of the log could not be put together", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
            return ""
        return f"{text}\n" if self._single else f"{BEGIN}{log}{PART}{text}\n"

    def flush(self) -> None:
        """Writes what there is, as far as there is room for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._turn()

    def _turn(self) -> None:
        self._timer = None
        self._first = True
        self.room, self._when = MOST, ""
        self._lines += [(log, f"… and {number} more requests") for log, number in sorted(self.missed.items())]
        self.missed.clear()
        self._write()
        if self._pending:
            self._timer = asyncio.get_running_loop().call_later(TURN, self._turn)

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        data = self._pending + _encoded("".join([self._marked(*line) for line in lines]))
        try:
            while data:
                data = data[os.write(self._pipe, data[: _piece(data)]) :]
            self._pending = b""
        except BlockingIOError:
            self._pending = data
        except OSError:  # there is no process of the logs any more, and with it no lab
            self._pending = b""
        if len(self._pending) > _PENDING:
            self._pending = self._pending[: self._pending.rfind(b"\n", 0, _PENDING) + 1]


def _encoded(text: str) -> bytes:
    """Its octets, those included that are no UTF-8."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="replace")

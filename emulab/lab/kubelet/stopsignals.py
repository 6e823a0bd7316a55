"""What asks a container's program to end: a signal of the manifest's, or its image's. Pure."""

from __future__ import annotations

import re
import signal

_RELATIVE = re.compile(r"(?:SIG)?RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?")


def signal_number(text: str) -> int:
    """`SIGQUIT`, `QUIT`, `3` or `SIGRTMIN+3`, as runtimes take them; SIGTERM for what is none, and for nothing."""
    word = text.strip().upper()
    if word.isdecimal() and 0 < int(word) <= signal.SIGRTMAX:
        return int(word)
    if found := _RELATIVE.fullmatch(word):
        offset = int(found[3] or 0) * (-1 if found[2] == "-" else 1)
        number = (signal.SIGRTMIN if found[1] == "MIN" else signal.SIGRTMAX) + offset
        return number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else int(signal.SIGTERM)
    name = word if word.startswith("SIG") else f"SIG{word}"
    return int(signal.Signals.__members__.get(name, signal.SIGTERM))

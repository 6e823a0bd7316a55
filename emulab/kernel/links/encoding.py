"""How a kind of item is told to the kernel: the message that makes one, the one that undoes it, and what comes after.

Interface indexes come from the handles of namespaces, and are noted there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from emulab.dataclass import dataclass
from emulab.kernel.netlink.messages import NLM_F_CREATE, NLM_F_EXCL, Message
from emulab.kernel.netns import Handle

Handles = Mapping[str, Handle]
EncodeItem = Callable[[Any, Handles], Message]

CREATE = NLM_F_CREATE | NLM_F_EXCL


def _nothing(_: Any, __: Handles) -> Iterable[tuple[Handle, Message]]:
    return ()


@dataclass(frozen=True, slots=True)
class Encoding:
    """How items of one kind are made, undone and finished.

    `finish`: what is left to do once an item is there, each message with the namespace that is told it. `late`: whether
    the kernel may have to do something first, for which it takes its time: until then it finds nothing there (ESRCH).
    """

    add: EncodeItem
    remove: EncodeItem
    finish: Callable[[Any, Handles], Iterable[tuple[Handle, Message]]] = _nothing
    late: bool = False


def index(item: Any, handles: Handles) -> int:
    """The interface index of the link that an item is on."""
    return handles[item.namespace].indexes[item.link]

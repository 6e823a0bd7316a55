"""Equal parts of objects kept once: thousands of Services have the same ports, and their endpoints the same conditions.

It works because objects are never changed in place (`emulab.model.objects`), as with the aliases of YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from marshal import dumps
from typing import Any

_MAX_KNOWN = 20_000  # parts; then all are forgotten, so that parts which never repeat don't pile up
_PLAIN = 2  # the last version of marshal's format that writes equal values, and no others, as equal bytes


class Shared:
    """The parts met so far."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}

    def parts(self, container: Any) -> None:
        """Puts a part that is known already in the place of each one in `container` that equals it."""
        for step, part in container.items() if isinstance(container, Mapping) else enumerate(container):
            if type(part) is dict or type(part) is list:
                known = self._known_part(part)
                if known is not part:
                    container[step] = known  # a key that is there: the iteration goes on

    def _known_part(self, part: Any) -> Any:
        # Bytes tell 1 from True and from 1.0, which are equal as keys, and one order of keys from another.
        content = dumps(part, _PLAIN)
        known = self._known.get(content)
        if known is None:
            self.parts(part)
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[content] = part
        return known

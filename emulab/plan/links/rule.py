"""Rules of policy routing."""

from __future__ import annotations

from collections.abc import Callable

from emulab.dataclass import dataclass
from emulab.model.addresses import IPNetwork
from emulab.plan.links.item import Item
from emulab.plan.links.route import MAIN

WHOLE_MARK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class RoutingRule(Item):
    """Which routing table decides about which packets (ip-rule(8)); the lowest priority is asked first.

    The kernel would have several of one priority, but removes one by its selectors alone, of which another may have
    more; so each has a priority to itself. `version`: of the addresses that it is about.
    """

    namespace: str
    priority: int
    version: int  # 4 | 6
    source: IPNetwork | None = None
    destination: IPNetwork | None = None
    mark: int | None = None
    mask: int = WHOLE_MARK
    input: str = ""
    output: str = ""
    table: int = MAIN
    action: str = "lookup"  # lookup (in the table) | blackhole | unreachable | prohibit

    word = "rule"

    def slots(self) -> tuple[tuple[object, ...], ...]:
        return (("rule", self.namespace, self.version, self.priority),)

    def reading_order(self) -> tuple[object, ...]:
        return (self.version, self.priority)

    def title(self) -> str:
        return f"rule {self.words()}"

    def line(self, name: Callable[[str], str]) -> str:
        return f"rule {self.words()}"

    def words(self) -> str:
        """The rule as `ip rule` takes it."""
        words = [f"priority {self.priority} from {self.source or 'all'}"]
        if self.destination:
            words.append(f"to {self.destination}")
        if self.mark is not None:
            mask = "" if self.mask == WHOLE_MARK else f"/{self.mask:#x}"
            words.append(f"fwmark {self.mark:#x}{mask}")
        if self.input:
            words.append(f"iif {self.input}")
        if self.output:
            words.append(f"oif {self.output}")
        words.append(f"lookup {self.table}" if self.action == "lookup" else self.action)
        return " ".join(words)

"""One virtual router on one node: its states and timers (RFC 9568, 6.4). Pure, time is an argument."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from emulab.dataclass import dataclass
from emulab.servers.vrrp.config import VrrpConfig
from emulab.servers.vrrp.packet import Advertisement

ACTIVE, STANDBY, FAULT = "active", "standby", "fault"
"""Who has the addresses; who waits for that one's silence; whose link is down."""
_OWNER = 255


@dataclass(frozen=True, slots=True)
class SendAdvertisement:
    """It is to be sent, with this priority: 0 of who gives the addresses up."""

    priority: int


@dataclass(frozen=True, slots=True)
class EnterState:
    """The node is in another state from now on."""

    state: str
    why: str


VrrpEffect = SendAdvertisement | EnterState


class VirtualRouter:
    """`due` is when `tick` is to be called next, None for never."""

    def __init__(self, config: VrrpConfig) -> None:
        self.config = config
        self.state = ""
        self.due: float | None = None
        self.active_at = ""  # the address of who has the addresses, as far as is known
        self._interval = config.interval  # of who has them: version 3 takes it over

    def start(self, up: bool, now: float) -> Iterator[VrrpEffect]:
        """Begins, with the link up or not."""
        if not up:
            yield from self._enter(FAULT, "its link is down", None)
        elif self.config.priority == _OWNER:
            yield from self._take("it owns the addresses", now)
        else:
            yield from self._wait("it begins", now)

    def stop(self) -> Iterator[VrrpEffect]:
        """Gives the addresses up, so that the next one needn't wait."""
        if self.state == ACTIVE:
            yield SendAdvertisement(0)
            yield from self._enter(STANDBY, "it ends", None)

    def link(self, up: bool, now: float) -> Iterator[VrrpEffect]:
        """The link has come or gone."""
        if not up and self.state != FAULT:
            yield from self._enter(FAULT, "its link is down", None)
        elif up and self.state == FAULT:
            yield from self._wait("its link is up again", now)

    def tick(self, now: float) -> Iterator[VrrpEffect]:
        """Time has passed."""
        if self.due is None or now < self.due:
            return
        if self.state == ACTIVE:
            yield SendAdvertisement(self.config.priority)
            self.due = now + self.config.interval
        elif self.state == STANDBY:
            yield from self._take(f"nothing was heard for {self._silence:.2f} s", now)

    def heard(self, said: Advertisement, source: str, now: float) -> Iterator[VrrpEffect]:
        """An advertisement of the same virtual router has come."""
        own = self.config.priority
        if self.state == STANDBY:
            if said.priority == 0:
                self.active_at = ""
                self.due = now + self._skew
            elif not self.config.preempt or said.priority >= own:
                if said.version == 3:
                    self._interval = said.interval
                self.active_at = source
                self.due = now + self._silence
        elif self.state == ACTIVE:
            larger = (
                ip_address(source).packed > ip_address(self.config.own).packed if self.config.own else False
            )
            if said.priority == 0:
                yield SendAdvertisement(own)
                self.due = now + self.config.interval
            elif said.priority > own or (said.priority == own and larger):
                self.active_at = source
                yield from self._wait(f"{source} has priority {said.priority}", now)
                self.active_at = source
            else:  # who is less says the same: it hears of us at once, as from keepalived
                yield SendAdvertisement(own)

    @property
    def _skew(self) -> float:
        """By which who has a higher priority is the first to miss somebody."""
        part = (256 - self.config.priority) / 256
        return part * self._interval if self.config.version == 3 else part

    @property
    def _silence(self) -> float:
        """Seconds after which who has the addresses is given up."""
        return 3 * self._interval + self._skew

    def _take(self, why: str, now: float) -> Iterator[VrrpEffect]:
        self.active_at = self.config.own
        yield from self._enter(ACTIVE, why, now + self.config.interval)
        yield SendAdvertisement(self.config.priority)

    def _wait(self, why: str, now: float) -> Iterator[VrrpEffect]:
        self.active_at = ""
        self._interval = self.config.interval
        yield from self._enter(STANDBY, why, now + self._silence)

    def _enter(self, state: str, why: str, due: float | None) -> Iterator[VrrpEffect]:
        self.state, self.due = state, due
        yield EnterState(state, why)

"""Every packet of a lab as an event with the objects' names, while it happens. Blocking, for one thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from emulab.errors import UserError
from emulab.lab.client.client import LabClient
from emulab.lab.client.naming import ObjectNames
from emulab.lab.client.tapping import LabTaps
from emulab.observe.capture.packetdrops import PacketDrop, PacketDrops
from emulab.observe.events import Frame
from emulab.observe.monitoring import PacketEvent, WantedPackets, event_of, peers_of

SNAP = 1024  # bytes of a frame: headers, and the beginning of what it carries

_NO_LOSS = frozenset({"QUEUE_PURGE"})  # what a socket still had when it was closed


class Monitor:
    """The events of a lab that are wanted. `sources`, `destinations` and `pods` are targets; none are whichever."""

    def __init__(
        self,
        client: LabClient,
        taps: LabTaps,
        namespace: str = "default",
        *,
        sources: Sequence[str] = (),
        destinations: Sequence[str] = (),
        pods: Sequence[str] = (),
        drops: PacketDrops | None = None,
        drops_alone: bool = False,
    ) -> None:
        """Raises UserError for a target that isn't there."""
        self.names = ObjectNames(client)
        self._client, self._taps, self._drops, self._drops_alone = client, taps, drops, drops_alone
        self._targets, self._namespace = (sources, destinations, pods), namespace
        self._waiting: list[PacketDrop] = []  # later than the frames that were told
        self._wanted = self._asked()
        self._version = self.names.version

    def _asked(self) -> WantedPackets:
        """The addresses that targets have now: a pod of a Deployment may be another one by and by."""
        found: list[frozenset[str] | None] = []
        for targets in self._targets:
            namespace = self._namespace
            told = self._client.request("addresses", targets=targets, namespace=namespace) if targets else []
            found.append(frozenset(address for one in told for address in one) if targets else None)
        return WantedPackets(*found)

    def look(self) -> list[PacketEvent]:
        """What has happened since the last look, in the order of time. Raises EmulabError when the lab has ended."""
        return self._events(self._taps.look())

    def rest(self) -> Iterator[list[PacketEvent]]:
        """Stops, and gives what is left, part by part."""
        for frames in self._taps.rest():
            yield self._events(frames)
        yield self._events([], last=True)

    def _events(self, frames: Iterable[Frame], last: bool = False) -> list[PacketEvent]:
        found = [] if self._drops_alone else [event for frame in frames if (event := event_of(frame))]
        self._waiting += self._drops.read() if self._drops else ()
        due = [drop for drop in self._waiting if drop.time <= self._taps.told_until or last]
        self._waiting = [] if last else [drop for drop in self._waiting if drop.time > self._taps.told_until]
        found += [event for drop in due if (event := self._dropped(drop))]
        if not found:
            return found
        self.names.learn(peer for event in found for peer in peers_of(event))
        if self.names.version != self._version:
            self._version, self._wanted = self.names.version, self._again()
        return sorted(filter(self._wanted.admits, found), key=lambda event: event.time)

    def _again(self) -> WantedPackets:
        """The addresses of targets now; what has gone keeps those that it had."""
        try:
            return self._asked()
        except UserError:
            return self._wanted

    def _dropped(self, drop: PacketDrop) -> PacketEvent | None:
        """The event of a packet that was dropped; None where that was somewhere else on the machine."""
        where = self._taps.where(drop.namespace, drop.interface)
        if where is None or drop.reason in _NO_LOSS:
            return None
        link = bytes(12) + drop.ethertype.to_bytes(2, "big")
        event = event_of(Frame(drop.time, *where, False, len(link + drop.headers), link + drop.headers))
        return event and event._replace(reason=drop.reason, location=drop.location)

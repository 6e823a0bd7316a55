"""Maps and programs of one node, and what they are told of Services: what changed, and nothing else.

Rules by which a packet finds a Service whole, whenever it comes:

* Endpoints are there before what leads to them, and go after it.
* Endpoints of a Service are a list, and others are another list: what leads to one is written once all of it is there.
* Nobody gets a number that another had: flows and clients keep those of endpoints and Services that are gone. An
  endpoint that serves two Services is two, so that each has its flows alone.
* What can't be written is taken back at once. What then can't be removed is removed with what is written next.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress

from emulab.errors import KernelError
from emulab.kernel import bpf, netns
from emulab.kernel.ebpf import flows, layouts
from emulab.kernel.ebpf.entries import (
    KnownFlow,
    ListedService,
    end_of,
    hosts,
    known_flow,
    listed,
    range_key,
    service_key,
)
from emulab.kernel.ebpf.layouts import MAPS, PROTOCOLS
from emulab.kernel.ebpf.programs import OWN, REPLIES, REQUESTS, program
from emulab.kernel.netns import Handle, lift
from emulab.kernel.sysctls import write_sysctl
from emulab.model.addresses import IPAddress, IPNetwork
from emulab.plan.links.translated import LOOPBACK, POD, UPLINK
from emulab.plan.persistent import change_between
from emulab.plan.state import BpfFrontend, Choice, Translations

_PROGRAMS: Mapping[str, Mapping[str, tuple[str, tuple[str, ...], int]]] = {
    POD: {
        "in": ("from_pod", (REQUESTS,), layouts.INSIDE),
        "out": ("to_pod", (REPLIES,), layouts.INSIDE),
    },
    UPLINK: {
        "in": ("from_uplink", (REQUESTS,), layouts.OUTSIDE),
        "out": ("to_uplink", (REPLIES, REQUESTS, OWN), layouts.INSIDE),
    },
    LOOPBACK: {"out": ("to_loopback", (REQUESTS, OWN), layouts.INSIDE)},
}
"""What each kind of link has at both its sides: the program's name, what it does, and for whom."""


def translator_of(handle: Handle) -> Translator:
    """The translator of a namespace, made when it is asked for the first time. Raises KernelError."""
    if handle.translator is None:
        handle.translator = Translator(handle)
    return handle.translator


class _Numbers:
    """Numbers for names, each of which is used so many times."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._used = Counter[object]()
        self.of: dict[object, int] = {}

    def use(self, name: object) -> bool:
        """Whether a name is new."""
        self._used[name] += 1
        if name in self.of:
            return False
        self.of[name] = self._next
        self._next += 1
        return True

    def leave(self, name: object) -> int | None:
        """The number that a name had, if nothing has the name any more."""
        self._used[name] -= 1
        if self._used[name]:
            return None
        del self._used[name]
        return self.of.pop(name)


def _no_writes() -> dict[str, dict[bytes, bytes]]:
    """What is to be written to each map, in this order; `heads` are elements of Services with numbers of choices."""
    return {stage: {} for stage in ("backends", "ranges", "services", "heads")}


class Translator:
    """What translates Services in one namespace. Calls block, and may come from several threads. Raises KernelError."""

    def __init__(self, handle: Handle) -> None:
        self._name, self._fd = handle.name, handle.fd
        self._wanted = Translations({}, (), ())
        self._maps: dict[str, int] = {}
        self._loaded: dict[str, int] = {}
        self._busy = threading.Lock()  # what is read is whole, and its descriptors stay open meanwhile
        self._writes, self._deletes = _no_writes(), dict[tuple[str, bytes], None]()
        self._guards = Counter[tuple[str, IPNetwork]]()
        self._services = _Numbers(layouts.FIRST_SERVICE)
        self._endpoints, self._lists = _Numbers(1), _Numbers(1)
        try:
            for name, form in MAPS.items():
                sizes = form.key.size, form.value.size, form.room
                self._maps[name] = lift(bpf.create_map(form.kind, *sizes, form.flags, f"lb_{name}"))
        except KernelError as error:
            self.close()
            raise self._refused(error) from None

    def _refused(self, error: KernelError) -> KernelError:
        return KernelError(error.operation, self._name, error.errno, netns.REMEDIES.get(error.errno, ""))

    def close(self) -> None:
        """Lets go of all; what is attached to links goes with these."""
        with self._busy:
            for fd in (*self._loaded.values(), *self._maps.values()):
                os.close(fd)
            self._loaded, self._maps = {}, {}

    def programs(self, role: str) -> Mapping[str, tuple[str, int]]:
        """What a link of this role has, by direction: the program's name and descriptor."""
        found = {}
        for direction, (name, does, scope) in _PROGRAMS[role].items():
            if name not in self._loaded:
                code = program(self._maps, *does, scope=scope)
                try:
                    loaded = bpf.load_program(bpf.PROGRAM_AT_TC, code, bpf.GPL_COMPATIBLE, name)
                except KernelError as error:
                    raise self._refused(error) from None
                self._loaded[name] = lift(loaded)
            found[direction] = name, self._loaded[name]
        return found

    def write(self, wanted: Translations | None) -> None:
        """Tells the programs what there is; None: nothing. After a failure there is what there was."""
        with self._busy:
            before, after = self._wanted, wanted or Translations({}, (), ())
            if after.sysctls and after.sysctls != before.sysctls:
                settings = after.sysctls
                netns.inside(self._fd, lambda: [write_sysctl(self._name, k, v) for k, v in settings])
            change = change_between(before.services, after.services)
            old = {f: before.services[f] for f in (*change.removed, *change.added) if f in before.services}
            try:
                self._exchange(before, after, change.added)
                self._flush_writes()
            except KernelError:
                again = {frontend: old[frontend] for frontend in change.added if frontend in old}
                self._take_back(before, after, change.added, again)
                raise
            self._wanted = after
            self._leave(old, change.added)
            self._flush_deletes()

    def _exchange(
        self, before: Translations, after: Translations, added: Mapping[BpfFrontend, Choice]
    ) -> None:
        """Notes what comes, and which ranges go."""
        self._ranges(layouts.PODS, before.pods, after.pods)
        self._ranges(layouts.LOCAL, hosts(before.local), hosts(after.local))
        for frontend, choice in added.items():
            self._begin(choice)
            self._lead(frontend, choice)

    def _leave(self, old: Mapping[BpfFrontend, Choice], kept: Iterable[BpfFrontend]) -> None:
        """Notes what goes with choices that frontends had; some have others now."""
        for frontend in old.keys() - set(kept):
            self._delete("services", service_key(frontend))
        for choice in old.values():
            self._end(choice)

    def _take_back(
        self,
        before: Translations,
        after: Translations,
        added: Mapping[BpfFrontend, Choice],
        again: Mapping[BpfFrontend, Choice],
    ) -> None:
        """What was there goes on; of `added` nothing is left. It needs no room."""
        self._ranges(layouts.PODS, after.pods, before.pods)
        self._ranges(layouts.LOCAL, hosts(after.local), hosts(before.local))
        for frontend, choice in again.items():
            self._lead(frontend, choice)
        self._leave(added, again)
        with suppress(KernelError):  # it stays noted
            self._flush_writes()
            self._flush_deletes()

    def _begin(self, choice: Choice) -> None:
        """What a choice needs before anything leads to it."""
        self._services.use(choice.service)
        for network in choice.sources:
            self._guards[choice.service, network] += 1
            self._write(
                "ranges", range_key(self._services.of[choice.service], network), layouts.RANGE.pack(1)
            )
        if not self._lists.use(name := _list_name(choice)):
            return
        for number, endpoint in enumerate(choice.endpoints, 1):
            if self._endpoints.use(own := (choice.service, endpoint)):
                value = layouts.BACKEND.pack(layouts.packed(endpoint[0]), layouts.network_order(endpoint[1]))
                self._write("backends", layouts.BACKEND_KEY.pack(self._endpoints.of[own]), value)
            value = layouts.SERVICE.pack(self._endpoints.of[own], 0, 0, 0, 0)
            self._write("services", layouts.CHOICE_KEY.pack(self._lists.of[name], number), value)
            if choice.affinity:
                member = layouts.MEMBER_KEY.pack(self._lists.of[name], self._endpoints.of[own])
                self._write("services", member, value)

    def _end(self, choice: Choice) -> None:
        """What a choice that is gone leaves behind, unless another needs it."""
        for network in choice.sources:
            self._guards[choice.service, network] -= 1
            if not self._guards[choice.service, network]:
                del self._guards[choice.service, network]
                self._delete("ranges", range_key(self._services.of[choice.service], network))
        if (owner := self._lists.leave(_list_name(choice))) is not None:
            for number, endpoint in enumerate(choice.endpoints, 1):
                self._delete("services", layouts.CHOICE_KEY.pack(owner, number))
                if choice.affinity:
                    number = self._endpoints.of[choice.service, endpoint]
                    self._delete("services", layouts.MEMBER_KEY.pack(owner, number))
                if (own := self._endpoints.leave((choice.service, endpoint))) is not None:
                    self._delete("backends", layouts.BACKEND_KEY.pack(own))
        self._services.leave(choice.service)

    def _lead(self, frontend: BpfFrontend, choice: Choice) -> None:
        """Leads a frontend to its choices."""
        flags = layouts.MASQUERADE * choice.masquerade | layouts.GUARDED * bool(choice.sources)
        numbers = self._services.of[choice.service], len(choice.endpoints), flags
        value = layouts.SERVICE.pack(choice.affinity, *numbers, self._lists.of[_list_name(choice)])
        self._write("heads", service_key(frontend), value)

    def _ranges(self, whose: int, before: Iterable[IPNetwork], after: Iterable[IPNetwork]) -> None:
        old, new = set(before), set(after)
        for network in new - old:
            self._write("ranges", range_key(whose, network), layouts.RANGE.pack(1))
        for network in old - new:
            self._delete("ranges", range_key(whose, network))

    def _write(self, stage: str, key: bytes, value: bytes) -> None:
        self._deletes.pop((_map_of(stage), key), None)
        self._writes[stage][key] = value

    def _delete(self, name: str, key: bytes) -> None:
        for stage, wanted in self._writes.items():
            if _map_of(stage) == name:
                wanted.pop(key, None)
        self._deletes[name, key] = None

    def _flush_writes(self) -> None:
        """Writes what is noted; what fails stays so."""
        for stage, wanted in self._writes.items():
            name = _map_of(stage)
            try:
                bpf.update_elements(self._maps[name], wanted)
            except KernelError as error:
                full = error.errno in (errno.E2BIG, errno.ENOSPC)
                what = f"give Services more than {MAPS[name].room} elements of the BPF map lb_{name}"
                raise KernelError(what if full else error.operation, self._name, error.errno) from None
            wanted.clear()

    def _flush_deletes(self) -> None:
        """Removes what is noted; what fails, and what comes after it, stays so."""
        for name, key in list(self._deletes):
            try:
                bpf.delete_element(self._maps[name], key)
            except KernelError as error:
                if error.errno != errno.ENOENT:
                    raise KernelError(error.operation, self._name, error.errno) from None
            del self._deletes[name, key]

    def flow(
        self, protocol: str, source: tuple[IPAddress, int], to: tuple[IPAddress, int]
    ) -> KnownFlow | None:
        """The connection that a packet with this source and destination belongs to, if the programs know it."""
        if protocol not in PROTOCOLS:
            return None
        ports = layouts.network_order(source[1]), layouts.network_order(to[1])
        addresses = layouts.packed(source[0]), layouts.packed(to[0])
        key = layouts.FLOW_KEY.pack(*addresses, *ports, PROTOCOLS[protocol], layouts.FORWARD)
        with self._busy:
            found = bpf.element(self._maps["flows"], key, layouts.FLOW.size) if self._maps else None
        return known_flow(key, found) if found is not None else None

    def forget_ended(self, now: int) -> int:
        """Forgets connections that are over; how many entries these had. `now`: nanoseconds of the monotonic clock."""
        with self._busy:
            if not self._maps:
                return 0
            fd = self._maps["flows"]
            over = flows.over(dict(bpf.all_elements(fd, layouts.FLOW_KEY.size, layouts.FLOW.size)), now)
            for key in over:
                try:
                    bpf.delete_element(fd, key)
                except KernelError as error:  # the map forgets by itself, too
                    if error.errno != errno.ENOENT:
                        raise self._refused(error) from None
            return len(over)

    def services(self) -> list[ListedService] | None:
        """The frontends that the programs know; None: it is closed."""
        with self._busy:
            return self._services_known() if self._maps else None

    def _services_known(self) -> list[ListedService]:
        sizes = layouts.SERVICE_KEY.size, layouts.SERVICE.size
        heads: dict[bytes, bytes] = {}
        choices: dict[int, dict[int, int]] = {}
        for key, value in bpf.elements(self._maps["services"], *sizes):
            _, _, kind, *_ = layouts.SERVICE_KEY.unpack(key)
            if kind:
                heads[key] = value
            else:
                owner, number = layouts.CHOICE_KEY.unpack(key)
                if number:
                    choices.setdefault(owner, {})[number] = layouts.SERVICE.unpack(value)[0]
        known = {
            layouts.BACKEND_KEY.unpack(key)[0]: end_of(*layouts.BACKEND.unpack(value))
            for key, value in bpf.elements(
                self._maps["backends"], layouts.BACKEND_KEY.size, layouts.BACKEND.size
            )
        }
        names = {number: str(name) for name, number in self._services.of.items()}
        return [listed(key, value, choices, known, names) for key, value in heads.items()]


def _map_of(stage: str) -> str:
    return "services" if stage == "heads" else stage


def _list_name(choice: Choice) -> tuple[object, ...]:
    return (choice.service, choice.endpoints, bool(choice.affinity))

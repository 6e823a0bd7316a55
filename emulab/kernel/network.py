"""Brings a network state about: the one place that turns a difference into kernel calls.

`applied` is always what is there. Every step that succeeds is noted in it at once, so after a failure
the way back is the same code with the old state as the wanted one. All methods block (call them in a
thread, one at a time).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from emulab.dataclass import dataclass, field
from emulab.errors import KernelError
from emulab.kernel import netns
from emulab.kernel.ebpf.translator import translator_of
from emulab.kernel.links import kinds
from emulab.kernel.links.encoding import EncodeItem
from emulab.kernel.links.link import link_forwarding, link_up
from emulab.kernel.links.mesh import Meshes
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netlink.requests import send_batch
from emulab.kernel.netns import Handle
from emulab.kernel.rules import conntrack, iptables, tables, wireguard
from emulab.kernel.rules.ipvs import IpvsTable
from emulab.kernel.rules.nft import Nft
from emulab.kernel.sysctls import SysctlWriter
from emulab.plan.difference import NetworkChange, dead_links, difference, vanishes_with
from emulab.plan.links import Item, Translated, rank
from emulab.plan.state import (
    Iptables,
    Ipvs,
    Mesh,
    Namespace,
    Network,
    Rules,
    Ruleset,
    Translations,
    Tuning,
    UdpBackends,
    WireguardPeers,
)

_NOT_THERE = frozenset({errno.ENODEV, errno.ENOENT, errno.ESRCH})
"""What the kernel says of an item that is gone already: with its link, or by somebody's own hand."""

_PATIENCE = 5.0
"""Seconds for which an item waits for what the kernel does by itself."""

RulesChange = tuple[tuple[str, str], Rules | None, Rules | None]
"""Key, before, after."""


@dataclass(slots=True)
class Sync:
    """That rules were written, and how long it took; None: it failed."""

    namespace: str
    kind: str
    before: Rules | None
    after: Rules | None
    seconds: float | None = None
    forgotten: Mapping[int, int] = field(default_factory=dict)  # numbers of UDP flows, by the version of IP


class KernelNetwork:
    """The namespaces of a lab and what is in them."""

    def __init__(self) -> None:
        self.handles: dict[str, Handle] = {}
        # Descriptors of namespaces that others have made, by what they were handed over as; each until it is planned.
        self.given: dict[str, int] = {}
        # Namespaces that are there before they are planned. Those that the next network hasn't are closed.
        self.ahead: dict[Namespace, Handle] = {}
        self._tables = tables.Tables()
        self._ipvs: dict[str, IpvsTable] = {}
        self._namespaces: dict[str, Namespace] = {}
        self._items: set[Item] = set()
        self._rulesets: dict[tuple[str, str], Rules] = {}
        self._known: Network | None = None  # what is there as one value, when it is known to be equal
        self._syncs: list[Sync] = []

    @property
    def applied(self) -> Network:
        """The network that is there now."""
        if self._known is None:
            self._known = Network(dict(self._namespaces), frozenset(self._items), dict(self._rulesets))
        return self._known

    def apply(self, wanted: Network, leave: Callable[[], object] = lambda: None) -> bool:
        """Makes the kernel equal to `wanted`; undoes everything when a step fails. Blocks. `leave` is called once rules
        are written, and before links go.

        Returns whether anything changed. Raises KernelError after the undo.
        """
        try:
            return self._applied(wanted, leave)
        finally:
            while self.ahead:
                self.ahead.popitem()[1].close()

    def _applied(self, wanted: Network, leave: Callable[[], object]) -> bool:
        self._sweep()
        before = self.applied
        change = difference(before, wanted)
        if change.empty:
            self._known = wanted  # the next one is derived from it, so that what differs is soon found
            return False
        try:
            self._perform(change, leave)
        except BaseException:
            self._perform(difference(self.applied, before))
            raise
        self._let_go({namespace for namespace, _ in change.remove_rulesets})
        self._known = wanted
        return True

    def _let_go(self, namespaces: Iterable[str]) -> None:
        """Closes translators that nothing is translated by any more: those of a mode that the lab has no longer."""
        for name in namespaces:
            handle = self.handles.get(name)
            if handle is None or handle.translator is None:
                continue
            told = any(n == name and isinstance(r, Translations) for (n, _), r in self._rulesets.items())
            if not told and not any(isinstance(i, Translated) and i.namespace == name for i in self._items):
                handle.translator.close()
                handle.translator = None

    @property
    def draining(self) -> bool:
        """Whether something stays for connections alone, and is to be looked at again (by `apply`) in a while."""
        return any(table.draining for table in self._ipvs.values())

    def _sweep(self) -> None:
        for table in self._ipvs.values():
            if table.draining:
                table.sweep()

    def take_syncs(self) -> list[Sync]:
        """What was written since this was asked the last time."""
        syncs, self._syncs = self._syncs, []
        return syncs

    def close(self) -> None:
        """Lets go of every namespace; what no process uses any more, the kernel reclaims."""
        self._tables.close()
        for table in self._ipvs.values():
            table.close()
        self._ipvs.clear()
        for handle in self.handles.values():
            handle.close()
        self.handles.clear()

    def _perform(self, change: NetworkChange, leave: Callable[[], object] = lambda: None) -> None:
        self._known = None
        self._write_rules(change.thinned)
        self._remove(change.make_room)
        dead = dead_links(change.make_room)
        self._note_gone(set(), dead)
        # Rules of a changed ruleset come before the removal of links, so that no new packet is sent to a
        # pod that is about to lose its link, and after the adding, so that none is sent too early.
        self._create(change.add_namespaces)
        self._add(change.add)
        self._write_rules(self._lost(dead))
        # Another mode's rules are there before the former's go, so no connection begins with neither. What leads
        # stale UDP flows anew comes last: the former's rules would make them stale again.
        self._write_rules(c for c in change.rulesets if not isinstance(c[2], UdpBackends))
        self._write_rules((key, self._rulesets[key], None) for key in change.remove_rulesets)
        self._write_rules(c for c in change.rulesets if isinstance(c[2], UdpBackends))
        leave()
        self._remove(change.remove)
        self._note_gone(set(change.remove_namespaces), dead_links(change.remove))
        for name in change.remove_namespaces:
            self.handles.pop(name).close()
            self._tables.forget(name)
            if name in self._ipvs:
                self._ipvs.pop(name).close()
            del self._namespaces[name]
        self._rulesets = {k: r for k, r in self._rulesets.items() if k[0] in self._namespaces}

    def _lost(self, dead: set[tuple[str, str]]) -> list[RulesChange]:
        """What links that are made anew have: meshes, peers and settings."""
        if not dead:
            return []
        again = {(namespace, link) for namespace, link in dead if link in self._indexes(namespace)}
        return [
            (key, None, rules)
            for key, rules in self._rulesets.items()
            if (isinstance(rules, Mesh | WireguardPeers) and (key[0], rules.link) in again)
            or (isinstance(rules, Tuning) and any((key[0], link) in again for link in rules.links()))
        ]

    def _indexes(self, namespace: str) -> Mapping[str, int]:
        return self.handles[namespace].indexes if namespace in self.handles else {}

    def _note_gone(self, namespaces: set[str], links: set[tuple[str, str]]) -> None:
        """Notes what went with its namespace or its link."""
        if not namespaces and not links:
            return
        gone = {i for i in self._items if i.namespace in namespaces}
        gone |= {i for i in self._items if any(namespace in namespaces for namespace, _ in i.ends())}
        gone |= {i for i in self._items if vanishes_with(i, links)}
        self._items -= gone

    def _create(self, namespaces: Iterable[Namespace]) -> None:
        wanted = list(namespaces)
        if not wanted:
            return
        ours = [n for n in wanted if n.given not in self.given and n not in self.ahead]
        for namespace, handle in zip(ours, netns.create(ours), strict=True):
            self._know(namespace, handle)  # before anything else can fail: what isn't known isn't undone
        for namespace in wanted:
            if namespace.name not in self.handles:
                ahead = self.ahead.pop(namespace, None)
                self._know(namespace, ahead or netns.adopt(namespace.name, self.given[namespace.given]))
                if ahead is None:
                    del self.given[namespace.given]
        for namespace in wanted:
            handle = self.handles[namespace.name]
            self._checked(handle, link_up(handle, "lo"))

    def _know(self, namespace: Namespace, handle: Handle) -> None:
        self.handles[namespace.name] = handle
        self._namespaces[namespace.name] = namespace

    def _add(self, items: Iterable[Item]) -> None:
        """Each namespace's items are finished before the next one's are made: while a pair of links is half up, the
        kernel looks at both again, all locks held, for each other link that comes up (linkwatch)."""
        for _, group in groupby(items, key=rank):
            for name, members in _by_namespace(group).items():
                self._send(name, members, "add", kinds.add, self._items.add)
                for item in members:
                    self._finish(item)

    def _finish(self, item: Item) -> None:
        patience = _PATIENCE if kinds.is_late(item) else 0
        for handle, told in groupby(kinds.finish(item, self.handles), key=itemgetter(0)):
            self._checked(handle, *(message for _, message in told), patience=patience)
        for namespace, link in item.ends():
            handle = self.handles[namespace]
            if handle.forward_by_link:
                self._checked(handle, link_forwarding(handle, link))

    def _remove(self, items: Iterable[Item]) -> None:
        for _, group in groupby(items, key=rank):
            for name, members in _by_namespace(group).items():
                self._send(name, members, "remove", kinds.remove, self._items.discard)

    def _send(
        self, name: str, items: Sequence[Item], verb: str, encode: EncodeItem, note: Callable[[Item], None]
    ) -> None:
        """Sends items of one kind, all in one namespace, as one batch, and notes each that succeeded."""
        batch = [encode(item, self.handles) for item in items]
        failures = send_batch(netns.open_rtnl(self.handles[name]), batch)
        failed = {f.index for f in failures}
        gone = {f.index for f in failures if verb == "remove" and f.errno in _NOT_THERE}
        for index, item in enumerate(items):
            if index not in failed - gone:
                note(item)
        for failure in (f for f in failures if f.index not in gone):
            what = f"{verb} {items[failure.index].title()}: {failure.text}"
            raise KernelError(what, name, failure.errno)

    @staticmethod
    def _checked(handle: Handle, *messages: Message, patience: float = 0) -> None:
        """`patience`: seconds for which what isn't there yet is waited for."""
        end = time.monotonic() + patience
        while failures := send_batch(netns.open_rtnl(handle), messages):
            failure = failures[0]
            if failure.errno != errno.ESRCH or time.monotonic() >= end:
                raise KernelError(
                    f"{messages[failure.index].what}: {failure.text}", handle.name, failure.errno
                )
            time.sleep(0.001)

    def _write_rules(self, changes: Iterable[RulesChange]) -> None:
        """Turns rules into others; None is their absence."""
        steps, meshes = tables.Steps(), Meshes(self.handles)
        with SysctlWriter() as sysctls:
            for key, before, after in changes:
                sync, begun = Sync(*key, before, after), time.perf_counter()
                self._syncs.append(sync)
                self._write(sync, steps, meshes, sysctls)
                sync.seconds = time.perf_counter() - begun
                if after is None:
                    del self._rulesets[key]
                else:
                    self._rulesets[key] = after

    def _write(self, sync: Sync, steps: tables.Steps, meshes: Meshes, sysctls: SysctlWriter) -> None:
        """Turns the rules of one key into others."""
        namespace, before, after = sync.namespace, sync.before, sync.after
        match after or before:
            case Ruleset():
                self._write_table(sync, steps)
            case Iptables():
                fd = self.handles[namespace].fd
                iptables.write(namespace, fd, _iptables(before), _iptables(after), sync.kind)
            case Ipvs():
                self.ipvs(namespace).write(_ipvs(after))
            case Translations():
                translator_of(self.handles[namespace]).write(_translations(after))
            case Mesh():
                meshes.write(namespace, _mesh(before), _mesh(after))
            case WireguardPeers():
                wireguard.write(self.handles[namespace], _peers(before), _peers(after))
            case UdpBackends() as backends:
                if isinstance(before, UdpBackends) and after is not None:
                    fd = self.handles[namespace].fd
                    sync.forgotten = conntrack.forget_stale(fd, namespace, before, backends)
            case Tuning(settings):
                if after is not None:
                    netns.tune(self.handles[namespace], settings, sysctls)
            case other:
                raise NotImplementedError(f"rules of kind {type(other).__name__}")

    def _write_table(self, sync: Sync, steps: tables.Steps) -> None:
        """Turns a table of nftables into another.

        What the kernel refuses may follow from what somebody else did to the table. So it is written anew then,
        as kube-proxy does after a failure; what is wrong by itself is refused again.
        """
        key, after = (sync.namespace, sync.kind), _ruleset(sync.after)
        try:
            self._go(key, steps.between(_ruleset(sync.before), after))
        except KernelError as error:
            if after is None:
                raise
            sync.before = None
            try:
                self._go(key, steps.anew(after))
            except KernelError:
                raise error from None

    def _go(self, key: tuple[str, str], steps: Iterable[tuple[Ruleset | None, tables.TableStep]]) -> None:
        for stage, step in steps:
            self._tables.write(self.handles[key[0]], step)
            if stage is not None:
                self._rulesets[key] = stage  # what is there if the next one fails

    def ipvs(self, namespace: str) -> IpvsTable:
        """IPVS of a namespace of this network."""
        table = self._ipvs.get(namespace)
        if table is None:
            table = self._ipvs[namespace] = IpvsTable(namespace, self.handles[namespace].fd)
        return table

    def nft(self, namespace: str) -> Nft:
        """nftables of a namespace of this network."""
        return self._tables.nft(self.handles[namespace])


def _by_namespace(items: Iterable[Item]) -> Mapping[str, Sequence[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.namespace, []).append(item)
    return found


def _ruleset(rules: Rules | None) -> Ruleset | None:
    assert rules is None or isinstance(rules, Ruleset), rules
    return rules


def _iptables(rules: Rules | None) -> Iptables | None:
    assert rules is None or isinstance(rules, Iptables), rules
    return rules


def _mesh(rules: Rules | None) -> Mesh | None:
    assert rules is None or isinstance(rules, Mesh), rules
    return rules


def _peers(rules: Rules | None) -> WireguardPeers | None:
    assert rules is None or isinstance(rules, WireguardPeers), rules
    return rules


def _ipvs(rules: Rules | None) -> Ipvs | None:
    assert rules is None or isinstance(rules, Ipvs), rules
    return rules


def _translations(rules: Rules | None) -> Translations | None:
    assert rules is None or isinstance(rules, Translations), rules
    return rules

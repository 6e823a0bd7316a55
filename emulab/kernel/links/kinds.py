"""Every kind of item with its encoding; whoever carries out a difference knows no kind."""

from __future__ import annotations

from collections.abc import Iterable

from emulab.kernel.links import (
    address,
    announced,
    bridge,
    checksums,
    delayline,
    detached,
    dummy,
    forwarding,
    hairpin,
    ipip,
    ipipend,
    neighbour,
    proxyarp,
    reversepath,
    route,
    rule,
    segmentation,
    shaper,
    translated,
    tunnelvxlan,
    veth,
    vxlan,
    wireguard,
)
from emulab.kernel.links.encoding import Encoding, Handles
from emulab.kernel.netlink.messages import Message
from emulab.kernel.netns import Handle
from emulab.plan.links import (
    Address,
    AnnouncedLink,
    Bridge,
    Checksums,
    DelayLine,
    Detached,
    Dummy,
    ForwardingEntry,
    Hairpin,
    Ipip,
    IpipEnd,
    Item,
    Neighbour,
    ProxyArp,
    ReversePath,
    Route,
    RoutingRule,
    Segmentation,
    Shaper,
    Translated,
    TunnelVxlan,
    Veth,
    Vxlan,
    Wireguard,
)

ENCODINGS: dict[type[Item], Encoding] = {
    Bridge: bridge.ENCODING,
    Veth: veth.ENCODING,
    Vxlan: vxlan.ENCODING,
    TunnelVxlan: tunnelvxlan.ENCODING,
    Ipip: ipip.ENCODING,
    IpipEnd: ipipend.ENCODING,
    Wireguard: wireguard.ENCODING,
    Dummy: dummy.ENCODING,
    Segmentation: segmentation.ENCODING,
    Checksums: checksums.ENCODING,
    DelayLine: delayline.ENCODING,
    Shaper: shaper.ENCODING,
    Translated: translated.ENCODING,
    Hairpin: hairpin.ENCODING,
    Detached: detached.ENCODING,
    ProxyArp: proxyarp.ENCODING,
    ReversePath: reversepath.ENCODING,
    Address: address.ENCODING,
    Neighbour: neighbour.ENCODING,
    ForwardingEntry: forwarding.ENCODING,
    Route: route.ENCODING,
    AnnouncedLink: announced.ENCODING,
    RoutingRule: rule.ENCODING,
}


def add(item: Item, handles: Handles) -> Message:
    """The message that makes `item`; interface indexes come from, and are noted in, `handles`."""
    return ENCODINGS[type(item)].add(item, handles)


def finish(item: Item, handles: Handles) -> Iterable[tuple[Handle, Message]]:
    """What is left to do once `item` is there, each with the namespace that is told it."""
    return ENCODINGS[type(item)].finish(item, handles)


def is_late(item: Item) -> bool:
    """Whether the kernel may have something to do before `item` can be finished."""
    return ENCODINGS[type(item)].late


def remove(item: Item, handles: Handles) -> Message:
    """The message that undoes `add`."""
    return ENCODINGS[type(item)].remove(item, handles)

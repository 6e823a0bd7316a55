"""emulab: the whole way of a request into a Kubernetes cluster, in real packets, without Kubernetes.

Data flows one way, manifests → objects → plan → kernel, and the servers' configuration beside it:

    model/     what an object is: keys, labels, addresses, YAML with positions     knows nobody
    kinds/     what is true of one kind: names, schema, merge, view, columns        knows model
    cluster/   the control plane: admission, store, controllers, allocation         knows model and kinds
    plan/      what must exist: pure functions, values, differences                 knows model and kinds
    kernel/    the only writer to Linux                                             knows plan's value types
    servers/   who answers: DNS, L4 balancer, ingress, stand-in                     knows nobody; configuration is data
    observe/   who watches: packets, counters, hops                                 writes nothing
    lab/       who keeps it true: supervisor, kubelet, processes, run folder        knows all of the above
    trace/     one request, followed                                                knows the lab
    python.py  `Lab`: a lab from Python                                             knows the lab and trace
    toolbox/   a network engineer's bag: timing, certificates                       knows Python and trace
    exercises/ labs that are broken, to be found out and mended                     knows Python
    twins/     the same lab in several proxy modes, and what differs                knows all of the above
    bench/     what each hop costs, and what a path carries                        knows Python and trace
    testing/   the pytest plugin: labs as fixtures                                  knows Python and twins
    cli/       one module a verb, and what is printed                               knows all of the above

A lab is one process tree. Its supervisor is PID 1 of a PID namespace and holds every network namespace by
file descriptors alone, so however it dies, the kernel reclaims the rest. Every change (a manifest, a
readiness flip, a crashed server) goes the same way: objects → controllers → plan → difference → apply.

`docs/architecture.md` follows one manifest, one request and one change through the rooms.

Words that are ours, and mean one thing everywhere (all others are those of Kubernetes, the kernel and the RFCs):

    lab         one world with its supervisor; what `up` makes and `down` ends
    place       somewhere a program can run: a node, pod, balancer, client, router, resolver or the internet's DNS
    underlay    the networks outside the cluster (internet, vpc, public addresses), of one family of addresses
    fabric      the namespace of the wire: a bridge for each network of the underlay
    world       everything that must exist for a set of objects; a plan's result, a value
    item        what of a world is one object of the kernel: a link, an address, a neighbour, a route, a rule of routing
    rules       what of a world changes in part: nftables, iptables, IPVS, UDP flows to forget, ways between nodes
    meaning     what a rule is for, said by who plans it: `MeantRule` is a rule's text with it
    intent      what a node's proxy has to bring about for one Service port, in whatever mode
    stand-in    what answers for a container image that isn't run
    server      a program of ours that answers: DNS, balancer, ingress, stand-in, kube-proxy's own pages; a
                `PlannedServer` is one that must run
    route       a `Route` is the kernel's; a `RequestRoute` is what an L7 proxy sends requests by
    endpoint    where a Service's traffic may go; a proxy sees it as a `ProxiedEndpoint`
    personality what a make of proxy has of its own, over the same engine
    dialect     what a make of server takes for the head of a request, over the same reader
    fork        a copy of the store, on which a change is tried before anybody hears of it
    pass        one turn of the reconcile loop
    WorkingCopy the objects as the controllers of one call change them
    record      what a server tells of its work while a trace asks for it (an Event is Kubernetes'); a trace has it
                as a `ServerRecord`. DNS' own are a Zone's `Record`, a `ZoneRecord` and a `ResourceRecord`
    owner       the object that an address stands for
    diagnosis   what an expert of a trace found: the failure, and the packet that was thrown away
    hop, leg    a step of a traced request; the part of it over one connection

    from emulab import Lab
"""

from __future__ import annotations

TYPE_CHECKING = False  # not from typing, which takes as long to load as all else of `emulab --help`
if TYPE_CHECKING:
    from emulab.errors import EmulabError, KernelError, ManifestError, NotReady, PeerError, UserError
    from emulab.kernel.processes.programs import Completed
    from emulab.lab.client.requesting import Answer
    from emulab.observe.path import Failure, Hop, Path
    from emulab.python import Lab

__all__ = [
    "Answer",
    "Completed",
    "EmulabError",
    "Failure",
    "Hop",
    "KernelError",
    "Lab",
    "ManifestError",
    "NotReady",
    "Path",
    "PeerError",
    "UserError",
]

_HOMES = {
    "emulab.errors": ("EmulabError", "KernelError", "ManifestError", "NotReady", "PeerError", "UserError"),
    "emulab.kernel.processes.programs": ("Completed",),
    "emulab.observe.path": ("Failure", "Hop", "Path"),
    "emulab.lab.client.requesting": ("Answer",),
    "emulab.python": ("Lab",),
}
"""Where what users import is defined. It is imported when asked for: `emulab --help` must not pay for it."""


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Loads the rules of many Services into empty network namespaces, in three ways in turn.

    python fullsync.py SERVICES ENDPOINTS ROUNDS [CHAINS]

Prints JSON: {"model", "plan", "ours", "same", "chains": seconds, a value a round, "listed": how much of each}.

* `ours`: the table of a node, as emulab plans it and writes it
* `same`: `nft -f` of a file that says the same
* `chains`: `nft -f` of kube-proxy's own form (in the first CHAINS rounds, as it takes long)

Each load has a namespace of its own, which goes when it is closed. Needs the rights to make network namespaces, and
leaves nothing.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from benchmarks import chains  # noqa: E402
from benchmarks.many import cluster_text, many, text  # noqa: E402
from emulab.cluster.admission.loader import load  # noqa: E402
from emulab.kernel import netns  # noqa: E402
from emulab.kernel.network import KernelNetwork  # noqa: E402
from emulab.kinds.emulab.clusterview import cluster_of  # noqa: E402
from emulab.lab.offline import offline_world  # noqa: E402
from emulab.model.sources import Source  # noqa: E402
from emulab.plan.rules.rulesets import ruleset_script  # noqa: E402
from emulab.plan.state import Namespace, Network, Ruleset  # noqa: E402
from emulab.plan.world import plan_world  # noqa: E402

PLACE = "loaded"
KEY = (PLACE, "ip kube-proxy")
LIMIT = 200  # seconds that one load by nft may take
SETTLING = 0.5  # seconds in which the kernel takes a namespace down; it works for 0.2 s at the most
Load = Callable[[KernelNetwork], None]


def main(services: int, size: int, rounds: int, with_chains: int) -> None:
    samples: defaultdict[str, list[float]] = defaultdict(list)
    asked = many(services, size)
    table = planned(cluster_text(1, "nftables") + "---\n" + text(asked), samples)
    with tempfile.TemporaryDirectory(prefix="emulab-bench-") as folder:
        same, own = Path(folder, "same.nft"), Path(folder, "chains.nft")
        same.write_text(ruleset_script(None, table))
        own.write_text(chains.script(asked))
        ways: dict[str, Load] = {
            "ours": lambda network: written(network, table),
            "same": lambda network: read_by_nft(network, same),
            "chains": lambda network: read_by_nft(network, own),
        }
        listings: dict[str, Counter[str]] = {}
        for number in range(rounds):
            for way in sorted(ways, reverse=bool(number % 2)):
                if way == "chains" and number >= with_chains:
                    continue
                seconds, listing = measured(ways[way], way not in listings)
                samples[way].append(seconds)
                if listing:
                    listings[way] = listing
    if listings["ours"] != listings["same"]:
        odd = list((listings["ours"] - listings["same"]) + (listings["same"] - listings["ours"]))
        sys.exit(f"the two ways left different rules, for example {odd[:3]}")
    listed = {way: sum(listing.values()) for way, listing in listings.items()}
    print(json.dumps({**samples, "listed": listed}))


def planned(manifests: str, samples: dict[str, list[float]]) -> Ruleset:
    """The table of the first node of a lab with these manifests; notes how long it took to come by."""
    sources = [Source("services.yaml", manifests)]
    begun = time.perf_counter()
    load(sources)
    loaded = time.perf_counter()
    samples["model"].append(loaded - begun)
    objects, _ = offline_world(sources)
    begun = time.perf_counter()
    world = plan_world(objects, cluster_of(objects))
    samples["plan"].append(time.perf_counter() - begun)
    table = world.network.rulesets[("node1", "ip kube-proxy")]
    assert isinstance(table, Ruleset)
    return table


def measured(load_rules: Load, listed: bool) -> tuple[float, Counter[str]]:
    """Seconds of one load into an empty namespace; and, if asked, what is there then."""
    network = KernelNetwork()
    try:
        network.apply(Network({PLACE: Namespace(PLACE)}))
        begun = time.perf_counter()
        load_rules(network)
        seconds = time.perf_counter() - begun
        return seconds, listing(network) if listed else Counter()
    finally:
        network.close()
        time.sleep(SETTLING)


def written(network: KernelNetwork, table: Ruleset) -> None:
    """emulab's way: what its supervisor does with a node's table."""
    network.apply(Network({PLACE: Namespace(PLACE)}, rulesets={KEY: table}))


def read_by_nft(network: KernelNetwork, path: Path) -> None:
    nft(network, "-f", str(path))


def nft(network: KernelNetwork, *arguments: str) -> str:
    """Runs nft in the namespace: a process is born in that of the thread that starts it."""

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nft", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT
        )

    done: subprocess.CompletedProcess[str] = netns.inside(network.handles[PLACE].fd, run)
    if done.returncode:
        sys.exit(f"nft {' '.join(arguments)}: {done.stderr[:300]}")
    return done.stdout


def listing(network: KernelNetwork) -> Counter[str]:
    """Everything in the table, whatever its order: elements, rules and declarations."""
    found = nft(network, "list", "table", "ip", "kube-proxy")
    return Counter(part.strip() for part in re.split(r"[,\n{}]|elements =", found) if part.strip())


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[1:]]
    main(numbers[0], numbers[1], numbers[2], numbers[3] if len(numbers) > 3 else numbers[2])

"""Benchmarks: one module a verb of `scripts/bench`, and what they share.

* `bringup`, `path`, `trace`, `services`, `policy`, `l7`, `ingress`: the verbs.
* `printed`: the rows with their ratios on the screen. Statistics, turns and tables are `emulab.bench`'s.
* `labs`: labs started with the real command line, in a run directory of their own.
* `many`, `chains`: many Services as manifests, and as kube-proxy's own nftables rules.
* `changes`, `latency`, `plot`: parts of `services`.
* `ingressed`, `sides`, `loads`: parts of `ingress`.
* `floor`, `mininet_build`, `handmade`, `pingpong`, `fullsync`, `connects`, `proxied`: programs of their own, run beside
  the labs, or without one.
"""
